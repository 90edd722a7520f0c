-- $1 the runner's token, $2 its workflows, $3 how many at the most, $4 among how many of the oldest:
-- those are drawn at random, lest all processes reach for the same. Who reaches for one that another
-- has just claimed waits for that to commit, sees it here once more, and leaves it.
WITH claimable AS (
    /* include: claimable */
)
UPDATE /* schema */workflow_instances
SET runner = $1::text::uuid, revision = revision + 1
WHERE
    /* include: lock_timeout */
    AND $1::text::uuid IN (
        SELECT token FROM /* schema */workflow_runners WHERE expires_at > statement_timestamp()
    )
    AND id = ANY (ARRAY(SELECT claimable.id FROM claimable))
    AND /* include: can_be_claimed */
RETURNING
    /* include: row */
