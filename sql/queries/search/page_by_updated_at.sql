-- $12 and $13 the moment and id that ended the page before, $14 the limit; each may be NULL.
SELECT
    /* include: row */
FROM (
    /* include: matching */
) AS matching
WHERE $12::text IS NULL OR (matching.updated_at, matching.id) > ($12::text::timestamp, $13::text)
ORDER BY matching.updated_at, matching.id
LIMIT $14::text::bigint
