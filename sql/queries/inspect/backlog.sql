-- Since when an instance of each workflow waits to be claimed: of the next twenty that are ready and the
-- next twenty that are due, the one that waits for longest. Those that come next are not always those that
-- wait for longest: one that was inserted long ago may have become ready by its last write.
WITH RECURSIVE ready AS (
    /* include: ready_workflows */
), timed AS (
    /* include: timed_workflows */
)
SELECT
    next.workflow::text AS workflow,
    extract(epoch FROM min(next.since))::text AS since,
    extract(epoch FROM statement_timestamp())::text AS now
FROM (
    SELECT ready.workflow, following.since
    FROM ready
    CROSS JOIN LATERAL (
        SELECT held.updated_at AT TIME ZONE 'UTC' AS since
        FROM /* schema */workflow_instances AS held
        WHERE held.workflow = ready.workflow AND /* include: is_ready */
        ORDER BY held.inserted_at
        LIMIT 20
    ) AS following
    UNION ALL
    SELECT timed.workflow, following.since
    FROM timed
    CROSS JOIN LATERAL (
        SELECT greatest(held.due_at, held.updated_at AT TIME ZONE 'UTC') AS since
        FROM /* schema */workflow_instances AS held
        WHERE
            held.workflow = timed.workflow
            AND /* include: is_timed */
            AND held.due_at <= statement_timestamp()
        ORDER BY held.due_at
        LIMIT 20
    ) AS following
) AS next
GROUP BY next.workflow
ORDER BY min(next.since), next.workflow
