-- $1 id, $2 workflow, $3 status, $4 workflow_version, $5 the revision that the writer saw, $6 state.
UPDATE /* schema */workflow_instances
SET
    workflow = $2::text,
    status = $3::text,
    workflow_version = $4::text::integer,
    state = $6::text::jsonb,
    updated_at = /* include: now */,
    revision = revision + 1
WHERE id = $1::text AND revision = $5::text::bigint
RETURNING
    /* include: written */
