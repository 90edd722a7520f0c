-- $12 the last id of the page before, $13 the limit; either may be NULL. Through coalesce the place
-- is a plain condition on the index in a generic plan too; no id is empty.
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
WHERE matching.id > coalesce($12::text, '')
ORDER BY matching.id
LIMIT $13::text::bigint
