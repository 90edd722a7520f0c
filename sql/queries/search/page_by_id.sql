-- $15 the last id of the page before, $16 the limit; either may be NULL. Through coalesce the place
-- is a plain condition on the index in a generic plan too; no id is empty.
SELECT
    /* include: row */
FROM /* schema */workflow_instances AS held
WHERE /* include: matching */
    AND id > coalesce($15::text, '')
ORDER BY held.id
LIMIT $16::text::bigint
