-- $1 ids. An id without a row gives none.
SELECT
    /* include: row */
FROM /* schema */workflow_instances
WHERE id = ANY ($1::text[])
