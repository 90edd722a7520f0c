-- $1 id, $2 workflow, $3 status, $4 the revision that the writer saw, $5 state.
UPDATE /* schema */workflow_instances
SET
    workflow = $2::text,
    status = $3::text,
    state = $5::text::jsonb,
    updated_at = date_trunc('second', statement_timestamp() AT TIME ZONE 'UTC'),
    revision = revision + 1
WHERE id = $1::text AND revision = $4::bigint
RETURNING
    workflow_version,
    revision,
    date_part('epoch', inserted_at) AS inserted_at,
    date_part('epoch', updated_at) AS updated_at
