-- $14 and $15 the moment and id that ended the page before, $16 the limit; each may be NULL.
-- For coalesce see page_by_id.sql.
SELECT
    /* include: row */
FROM (
    /* include: matching */
) AS matching
WHERE (matching.inserted_at, matching.id) > (coalesce($14::text::timestamp, '-infinity'), coalesce($15::text, ''))
ORDER BY matching.inserted_at, matching.id
LIMIT $16::text::bigint
