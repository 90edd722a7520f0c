-- The $2 instances that have been stuck for longest, for $1 seconds at least, each with its reason. It is
-- exhausted: nobody is given it any more, after too many failed attempts; orphaned: its owner is dead,
-- and nobody has taken over; unclaimed: it could be claimed, and nobody does; silent: its owner lives
-- and has not written it.
WITH RECURSIVE bound AS (
    SELECT statement_timestamp() - $1::text::float8 * interval '1 second' AS bound
), living AS (
    SELECT token FROM /* schema */workflow_runners WHERE expires_at > statement_timestamp()
), ready AS (
    (
        SELECT held.workflow
        FROM /* schema */workflow_instances AS held
        WHERE /* include: is_ready */
        ORDER BY held.workflow
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT held.workflow
        FROM /* schema */workflow_instances AS held
        WHERE held.workflow > ready.workflow AND /* include: is_ready */
        ORDER BY held.workflow
        LIMIT 1
    )
    FROM ready
    WHERE ready.workflow IS NOT NULL
), found AS (
    SELECT id, 'exhausted' AS reason, updated_at AT TIME ZONE 'UTC' AS since
    FROM /* schema */workflow_instances
    WHERE due_at = 'infinity' AND runner IS NULL AND attempts > 0
    UNION ALL
    SELECT
        id,
        CASE WHEN runner IN (SELECT token FROM living) THEN 'silent' ELSE 'orphaned' END,
        updated_at AT TIME ZONE 'UTC'
    FROM /* schema */workflow_instances
    WHERE runner IS NOT NULL
    UNION ALL
    SELECT oldest.id, 'unclaimed', oldest.inserted_at AT TIME ZONE 'UTC'
    FROM ready
    CROSS JOIN LATERAL (
        SELECT held.id, held.inserted_at
        FROM /* schema */workflow_instances AS held
        WHERE held.workflow = ready.workflow AND /* include: is_ready */
        ORDER BY held.inserted_at
        LIMIT $2::text::bigint
    ) AS oldest
    UNION ALL
    SELECT id, 'unclaimed', due_at
    FROM /* schema */workflow_instances
    WHERE
        due_at < (SELECT bound FROM bound)
        AND runner IS NULL
        AND status IN ('pending', 'running', 'waiting')
), oldest AS (
    SELECT found.id, found.reason, found.since
    FROM found
    WHERE found.since < (SELECT bound FROM bound)
    ORDER BY found.since, found.id
    LIMIT $2::text::bigint
)
SELECT
    /* include: row */,
    reason AS reason,
    extract(epoch FROM since AT TIME ZONE 'UTC')::text AS since
FROM oldest
JOIN /* schema */workflow_instances AS held USING (id)
ORDER BY oldest.since, id
