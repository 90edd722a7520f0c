-- $1 id, $2 workflow, $3 status, $4 workflow_version, $5 due_at, $6 whether a finished row makes
-- way, $7 the runner that is to own it, or NULL, $8 state.
-- Such a row becomes the new instance entirely, but its revision goes on, so that whoever still
-- holds the finished one cannot overwrite the new.
INSERT INTO /* schema */workflow_instances AS held (
    /* include: inserted_columns */,
    runner
)
VALUES (
    $1::text,
    $2::text,
    $3::text,
    $4::text::integer,
    $5::text::timestamptz,
    $8::text::jsonb,
    /* include: now */,
    /* include: now */,
    $7::text::uuid
)
ON CONFLICT (id) DO UPDATE SET
    workflow = EXCLUDED.workflow,
    status = EXCLUDED.status,
    workflow_version = EXCLUDED.workflow_version,
    due_at = EXCLUDED.due_at,
    runner = EXCLUDED.runner,
    attempts = 0,
    state = EXCLUDED.state,
    inserted_at = EXCLUDED.inserted_at,
    updated_at = EXCLUDED.updated_at,
    revision = held.revision + 1
WHERE held.status IN ('completed', 'failed') AND /* include: gives_way */
RETURNING
    /* include: written */
