-- $12 the last id of the page before, $13 the limit; either may be NULL. Through coalesce the place
-- is a plain condition on the index in a generic plan too; no id is empty.
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
WHERE id > coalesce($12::text, '')
ORDER BY id
LIMIT $13::bigint
