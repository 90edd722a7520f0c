-- As put.sql, for arrays of one length. Every writer locks the rows of a statement in one order,
-- that of the ids' bytes, so that two of them cannot wait for each other.
INSERT INTO /* schema */workflow_instances AS held (
    /* include: inserted_columns */
)
SELECT
    given.id,
    given.workflow,
    given.status,
    given.workflow_version::integer,
    given.due_at::timestamptz,
    given.state::jsonb,
    /* include: now */,
    /* include: now */
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) AS given (
    id, workflow, status, workflow_version, due_at, state
)
WHERE
    /* include: lock_timeout */
ORDER BY given.id COLLATE "C"
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
