-- $1 id, $2 workflow, $3 status, $4 state, $5 the revision that the writer saw.
UPDATE /* schema */workflow_instances
SET
    workflow = $2::text,
    status = $3::text,
    state = $4::text::jsonb,
    updated_at = date_trunc('second', statement_timestamp() AT TIME ZONE 'UTC'),
    revision = revision + 1
WHERE id = $1::text AND revision = $5::bigint
RETURNING workflow_version, revision, inserted_at, updated_at
