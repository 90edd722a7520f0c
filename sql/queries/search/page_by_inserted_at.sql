-- $12 and $13 the moment and id that ended the page before, $14 the limit; each may be NULL.
-- For coalesce see page_by_id.sql.
SELECT
    /* include: row */
FROM (
    /* include: matching */
) AS matching
WHERE (matching.inserted_at, matching.id) > (coalesce($12::text::timestamp, '-infinity'), coalesce($13::text, ''))
ORDER BY matching.inserted_at, matching.id
LIMIT $14::text::bigint
