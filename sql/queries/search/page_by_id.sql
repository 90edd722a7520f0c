-- $14 the last id of the page before, $15 the limit; either may be NULL. Through coalesce the place
-- is a plain condition on the index in a generic plan too; no id is empty.
SELECT
    /* include: row */
FROM (
    /* include: matching */
) AS matching
WHERE matching.id > coalesce($14::text, '')
ORDER BY matching.id
LIMIT $15::text::bigint
