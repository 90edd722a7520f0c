-- $1 id, $2 workflow, $3 status, $4 workflow_version, $5 state.
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
    $5::text::jsonb,
    /* include: now */,
    /* include: now */
)
ON CONFLICT (id) DO UPDATE SET
    workflow = EXCLUDED.workflow,
    status = EXCLUDED.status,
    state = EXCLUDED.state,
    updated_at = EXCLUDED.updated_at,
    revision = held.revision + 1
RETURNING
    /* include: written */
