-- $1 id, $2 workflow, $3 status, $4 workflow_version, $5 due_at, $6 state.
-- A runner keeps what goes on, and gives up what waits or has ended.
-- A new row begins at the revision that is the column's default, a moment in microseconds.
-- Moments go through EXCLUDED, and the revision is a column of the row: distributed engines
-- refuse now() inside DO UPDATE SET, and have neither triggers nor a steady xmin. The original
-- truncates to the second; a plain cast to timestamp(0) would round into the future.
INSERT INTO /* schema */workflow_instances AS held (
    /* include: inserted_columns */
)
VALUES (
    $1::text,
    $2::text,
    $3::text,
    $4::text::integer,
    $5::text::timestamptz,
    $6::text::jsonb,
    /* include: now */,
    /* include: now */
)
ON CONFLICT (id) DO UPDATE SET
    workflow = EXCLUDED.workflow,
    status = EXCLUDED.status,
    due_at = EXCLUDED.due_at,
    state = EXCLUDED.state,
    updated_at = EXCLUDED.updated_at,
    runner = CASE WHEN EXCLUDED.status IN ('pending', 'running') THEN held.runner END,
    attempts = 0,
    revision = held.revision + 1
RETURNING
    /* include: written */
