-- As get.sql; nobody else changes the row until the transaction ends.
SELECT
    /* include: row */
FROM /* schema */workflow_instances
WHERE id = $1::text
FOR NO KEY UPDATE
