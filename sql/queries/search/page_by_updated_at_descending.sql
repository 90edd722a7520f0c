-- As page_by_updated_at.sql, from the end.
SELECT
    /* include: row */
FROM (
    /* include: matching */
) AS matching
WHERE $14::text IS NULL OR (matching.updated_at, matching.id) < ($14::text::timestamp, $15::text)
ORDER BY matching.updated_at DESC, matching.id DESC
LIMIT $16::text::bigint
