-- As update.sql, for arrays of one length; an id that is gone or at another revision gives no row.
-- The rows are locked in the order in which put_many locks them.
WITH given AS (
    SELECT id, workflow, status, state::jsonb AS state, revision
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[]) AS given (
        id, workflow, status, revision, state
    )
), locked AS (
    SELECT held.id
    FROM /* schema */workflow_instances AS held
    WHERE
        held.id = ANY ($1::text[])
        AND /* include: patience */
    ORDER BY held.id COLLATE "C"
    FOR UPDATE
)
UPDATE /* schema */workflow_instances AS held
SET
    workflow = given.workflow,
    status = given.status,
    state = given.state,
    updated_at = date_trunc('second', statement_timestamp() AT TIME ZONE 'UTC'),
    revision = held.revision + 1
FROM locked
JOIN given ON given.id = locked.id
WHERE held.id = locked.id AND held.revision = given.revision
RETURNING
    held.id,
    held.workflow_version,
    held.revision,
    date_part('epoch', held.inserted_at) AS inserted_at,
    date_part('epoch', held.updated_at) AS updated_at
