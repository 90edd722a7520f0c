-- As update.sql, for arrays of one length; an id that is gone or at another revision gives no row.
-- The rows are locked in the order in which put_many locks them, and by then are joined to what they
-- become: a join of two lists of unknown length may be a loop in a loop.
WITH locked AS (
    SELECT
        held.id,
        given.workflow,
        given.status,
        given.workflow_version::integer AS workflow_version,
        given.revision::bigint AS revision,
        given.state::jsonb AS state
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]
    ) AS given (id, workflow, status, workflow_version, revision, state)
    JOIN /* schema */workflow_instances AS held ON held.id = given.id
    WHERE
        /* include: patience */
    ORDER BY held.id COLLATE "C"
    FOR UPDATE OF held
)
UPDATE /* schema */workflow_instances AS held
SET
    workflow = locked.workflow,
    status = locked.status,
    workflow_version = locked.workflow_version,
    state = locked.state,
    updated_at = date_trunc('second', statement_timestamp() AT TIME ZONE 'UTC'),
    revision = held.revision + 1
FROM locked
WHERE held.id = locked.id AND held.revision = locked.revision
RETURNING
    held.id::text AS id,
    held.workflow_version::oid AS workflow_version,
    held.revision::text AS revision,
    extract(epoch FROM held.inserted_at)::text AS inserted_at,
    extract(epoch FROM held.updated_at)::text AS updated_at
