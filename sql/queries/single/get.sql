-- $1 id.
SELECT
    /* include: row */
FROM /* schema */workflow_instances
WHERE id = $1::text
