-- $14 and $15 the moment and id that ended the page before, $16 the limit; each may be NULL.
SELECT
    /* include: row */
FROM (
    /* include: matching */
) AS matching
WHERE $14::text IS NULL OR (matching.updated_at, matching.id) > ($14::text::timestamp, $15::text)
ORDER BY matching.updated_at, matching.id
LIMIT $16::text::bigint
