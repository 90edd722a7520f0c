-- As claim.sql, where the table lies in several shards, of which Citus skips no locked row. Who reaches
-- for one that another has just claimed waits for that to commit, sees it once more, and leaves it.
WITH claimable AS (
    SELECT oldest.id
    FROM (
        /* include: claimable */
    ) AS oldest
    ORDER BY CASE WHEN $5::text::boolean THEN random() END, oldest.due, oldest.id
    LIMIT $3::text::bigint
)
UPDATE /* schema */workflow_instances
SET
    runner = $1::text::uuid,
    due_at = /* include: due_once_claimed */,
    revision = revision + 1
WHERE
    /* include: lock_timeout */
    AND $1::text::uuid IN (
        SELECT token FROM /* schema */workflow_runners WHERE expires_at > statement_timestamp()
    )
    AND id = ANY (ARRAY(SELECT claimable.id FROM claimable))
    AND /* include: can_be_claimed */
RETURNING
    /* include: row */
