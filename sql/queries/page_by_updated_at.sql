-- $12 and $13 the moment and id that ended the page before, $14 the limit; each may be NULL.
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
WHERE $12::timestamp IS NULL OR (updated_at, id) > ($12::timestamp, $13::text)
ORDER BY matching.updated_at, id
LIMIT $14::bigint
