-- As update.sql, for arrays of one length; an id that is gone or at another revision gives no row.
-- The rows are locked in the order in which put_many locks them, and by then are joined to what they
-- become: a join of two lists of unknown length may be a loop in a loop.
WITH locked AS (
    SELECT
        held.id AS locked_id,
        given.workflow AS new_workflow,
        given.status AS new_status,
        given.workflow_version::integer AS new_version,
        given.due_at::timestamptz AS new_due_at,
        given.revision::bigint AS seen_revision,
        given.state::jsonb AS new_state
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]
    ) AS given (id, workflow, status, workflow_version, due_at, revision, state)
    JOIN /* schema */workflow_instances AS held ON held.id = given.id
    WHERE
        /* include: lock_timeout */
        /* include: held_in_one_shard */
    ORDER BY held.id COLLATE "C"
    FOR UPDATE OF held
)
UPDATE /* schema */workflow_instances AS held
SET
    workflow = new_workflow,
    status = new_status,
    workflow_version = new_version,
    due_at = new_due_at,
    state = new_state,
    updated_at = /* include: now */,
    runner = CASE WHEN new_status IN ('pending', 'running') THEN runner END,
    attempts = 0,
    revision = revision + 1
FROM locked
WHERE
    id = locked_id
    AND revision = seen_revision
    /* include: held_in_one_shard */
RETURNING
    /* include: written */
