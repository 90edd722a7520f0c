-- $12 and $13 the moment and id that ended the page before, $14 the limit; each may be NULL.
-- For coalesce see page_by_id.sql.
SELECT
    id,
    workflow,
    status,
    workflow_version,
    state::text AS state,
    revision,
    date_part('epoch', inserted_at) AS inserted_at,
    date_part('epoch', updated_at) AS updated_at
FROM (
    /* include: matching */
) AS matching
WHERE (inserted_at, id) > (coalesce($12::timestamp, '-infinity'), coalesce($13::text, ''))
ORDER BY matching.inserted_at, id
LIMIT $14::bigint
