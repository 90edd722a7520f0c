-- $12 the last id of the page before, $13 the limit; either may be NULL.
SELECT
    id,
    workflow,
    status,
    workflow_version,
    state::text AS state,
    revision,
    inserted_at,
    updated_at
FROM (
    /* include: matching */
) AS matching
WHERE $12::text IS NULL OR id > $12::text
ORDER BY id
LIMIT $13::bigint
