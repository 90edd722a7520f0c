-- As update.sql, for arrays of one length; an id that is gone or at another revision gives no row.
-- The rows are locked in the order in which put_many locks them, and by then are joined to what they
-- become: a join of two lists of unknown length may be a loop in a loop.
WITH locked AS (
    SELECT
        held.id AS locked_id,
        given.workflow AS new_workflow,
        given.status AS new_status,
        given.workflow_version::integer AS new_version,
        given.revision::bigint AS seen_revision,
        given.state::jsonb AS new_state
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]
    ) AS given (id, workflow, status, workflow_version, revision, state)
    JOIN /* schema */workflow_instances AS held ON held.id = given.id
    WHERE
        /* include: lock_timeout */
    ORDER BY held.id COLLATE "C"
    FOR UPDATE OF held
)
UPDATE /* schema */workflow_instances
SET
    workflow = new_workflow,
    status = new_status,
    workflow_version = new_version,
    state = new_state,
    updated_at = /* include: now */,
    revision = revision + 1
FROM locked
WHERE id = locked_id AND revision = seen_revision
RETURNING
    /* include: written */
