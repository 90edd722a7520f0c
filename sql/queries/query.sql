SELECT
    id,
    workflow,
    status,
    workflow_version,
    state::text AS state,
    revision,
    inserted_at AT TIME ZONE 'UTC' AS inserted_at,
    updated_at AT TIME ZONE 'UTC' AS updated_at
FROM (
    /* include: matching */
) AS matching
