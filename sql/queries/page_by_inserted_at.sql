-- $12 and $13 the moment and id that ended the page before, $14 the limit; each may be NULL.
-- For coalesce see page_by_id.sql.
SELECT
    id::text AS id,
    workflow::text AS workflow,
    status::text AS status,
    workflow_version::oid AS workflow_version,
    state::text AS state,
    revision::text AS revision,
    extract(epoch FROM inserted_at)::text AS inserted_at,
    extract(epoch FROM updated_at)::text AS updated_at
FROM (
    /* include: matching */
) AS matching
WHERE (matching.inserted_at, matching.id) > (coalesce($12::text::timestamp, '-infinity'), coalesce($13::text, ''))
ORDER BY matching.inserted_at, matching.id
LIMIT $14::text::bigint
