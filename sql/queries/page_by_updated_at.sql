-- $12 and $13 the moment and id that ended the page before, $14 the limit; each may be NULL.
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
WHERE $12::text IS NULL OR (matching.updated_at, matching.id) > ($12::text::timestamp, $13::text)
ORDER BY matching.updated_at, matching.id
LIMIT $14::text::bigint
