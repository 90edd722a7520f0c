-- As backlog.sql, where the table lies in several shards: each looks through all that can be claimed, since
-- Citus takes neither a recursive query nor a LATERAL with a limit.
SELECT
    waiting.workflow::text AS workflow,
    extract(epoch FROM min(waiting.since))::text AS since,
    extract(epoch FROM statement_timestamp())::text AS now
FROM (
    SELECT held.workflow, min(held.updated_at) AT TIME ZONE 'UTC' AS since
    FROM /* schema */workflow_instances AS held
    WHERE /* include: is_ready */
    GROUP BY held.workflow
    UNION ALL
    SELECT held.workflow, min(greatest(held.due_at, held.updated_at AT TIME ZONE 'UTC'))
    FROM /* schema */workflow_instances AS held
    WHERE /* include: is_timed */
        AND held.due_at <= statement_timestamp()
    GROUP BY held.workflow
) AS waiting
GROUP BY waiting.workflow
ORDER BY min(waiting.since), waiting.workflow
