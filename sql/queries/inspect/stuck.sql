-- The $2 instances that have been stuck for longest, for $1 seconds at least, each with its reason. It is
-- exhausted: nobody is given it any more, after too many failed attempts; orphaned: its owner is dead,
-- and nobody has taken over; unclaimed: it could be claimed, and nobody does; silent: its owner lives
-- and has not written it. None of them began before its last write: one that was inserted long ago may
-- have become claimable just now.
WITH RECURSIVE bound AS (
    SELECT statement_timestamp() - $1::text::float8 * interval '1 second' AS bound
), ready AS (
    /* include: ready_workflows */
), timed AS (
    /* include: timed_workflows */
), found AS (
    SELECT id, 'exhausted' AS reason, updated_at AT TIME ZONE 'UTC' AS since
    FROM /* schema */workflow_instances
    WHERE due_at = 'infinity' AND runner IS NULL AND attempts > 0
    UNION ALL
    SELECT
        held.id,
        CASE WHEN living.token IS NULL THEN 'orphaned' ELSE 'silent' END,
        greatest(held.updated_at AT TIME ZONE 'UTC', living.started_at)
    FROM /* schema */workflow_instances AS held
    LEFT JOIN /* schema */workflow_runners AS living
        ON living.token = held.runner AND living.expires_at > statement_timestamp()
    WHERE held.runner IS NOT NULL
    UNION ALL
    SELECT oldest.id, 'unclaimed', oldest.updated_at AT TIME ZONE 'UTC'
    FROM ready
    CROSS JOIN LATERAL (
        SELECT held.id, held.updated_at
        FROM /* schema */workflow_instances AS held
        WHERE
            held.workflow = ready.workflow
            AND /* include: is_ready */
            AND held.inserted_at < (SELECT bound AT TIME ZONE 'UTC' FROM bound)
            AND held.updated_at < (SELECT bound AT TIME ZONE 'UTC' FROM bound)
        ORDER BY held.inserted_at
        LIMIT $2::text::bigint
    ) AS oldest
    UNION ALL
    SELECT oldest.id, 'unclaimed', greatest(oldest.due_at, oldest.updated_at AT TIME ZONE 'UTC')
    FROM timed
    CROSS JOIN LATERAL (
        SELECT held.id, held.due_at, held.updated_at
        FROM /* schema */workflow_instances AS held
        WHERE
            held.workflow = timed.workflow
            AND /* include: is_timed */
            AND held.due_at < (SELECT bound FROM bound)
            AND held.updated_at < (SELECT bound AT TIME ZONE 'UTC' FROM bound)
        ORDER BY held.due_at
        LIMIT $2::text::bigint
    ) AS oldest
), /* include: longest_stuck */
