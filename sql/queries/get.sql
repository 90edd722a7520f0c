SELECT
    id,
    workflow,
    status,
    workflow_version,
    state::text AS state,
    revision,
    date_part('epoch', inserted_at) AS inserted_at,
    date_part('epoch', updated_at) AS updated_at
FROM /* schema */workflow_instances
WHERE id = $1::text
