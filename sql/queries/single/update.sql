-- $1 id, $2 workflow, $3 status, $4 workflow_version, $5 due_at, $6 the revision that the writer
-- saw, $7 state.
UPDATE /* schema */workflow_instances
SET
    workflow = $2::text,
    status = $3::text,
    workflow_version = $4::text::integer,
    due_at = $5::text::timestamptz,
    state = $7::text::jsonb,
    updated_at = /* include: now */,
    runner = CASE WHEN $3::text IN ('pending', 'running') THEN runner END,
    attempts = 0,
    revision = revision + 1
WHERE id = $1::text AND revision = $6::text::bigint
RETURNING
    /* include: written */
