-- $1 the runner's token, $2 its workflows, $3 how many at the most, $4 among how many of the oldest,
-- $5 whether those are drawn at random, lest all processes reach for the same. What somebody else has
-- locked is being claimed or written, and is left for the next of them: a claim waits for nobody, so
-- that it is in no deadlock.
WITH claimable AS (
    /* include: claimable */
), locked AS (
    SELECT id AS locked_id
    FROM /* schema */workflow_instances
    WHERE
        $1::text::uuid IN (
            SELECT token FROM /* schema */workflow_runners WHERE expires_at > statement_timestamp()
        )
        AND id = ANY (ARRAY(SELECT claimable.id FROM claimable))
        AND /* include: can_be_claimed */
    ORDER BY
        CASE WHEN $5::text::boolean THEN random() END,
        coalesce(due_at, inserted_at AT TIME ZONE 'UTC'),
        id
    LIMIT $3::text::bigint
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE /* schema */workflow_instances
SET
    runner = $1::text::uuid,
    due_at = /* include: due_once_claimed */,
    revision = revision + 1
FROM locked
WHERE id = locked_id
RETURNING
    /* include: row */
