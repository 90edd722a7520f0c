-- As page_by_inserted_at.sql, from the end.
SELECT
    /* include: row */
FROM (
    /* include: matching */
) AS matching
WHERE (matching.inserted_at, matching.id) < (coalesce($14::text::timestamp, 'infinity'), coalesce($15::text, ''))
ORDER BY matching.inserted_at DESC, matching.id DESC
LIMIT $16::text::bigint
