-- As insert.sql, for arrays of one length; an id that is taken gives no row. Locks in the order of
-- the ids' bytes, as put_many.sql.
INSERT INTO /* schema */workflow_instances AS held (
    /* include: inserted_columns */,
    runner
)
SELECT
    given.id,
    given.workflow,
    given.status,
    given.workflow_version::integer,
    given.due_at::timestamptz,
    given.state::jsonb,
    /* include: now */,
    /* include: now */,
    given.runner::uuid
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[]
) AS given (id, workflow, status, workflow_version, due_at, gives_way, runner, state)
WHERE
    /* include: lock_timeout */
ORDER BY given.id COLLATE "C"
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
WHERE
    held.status IN ('completed', 'failed')
    AND /* include: each_gives_way */
RETURNING
    /* include: written */
