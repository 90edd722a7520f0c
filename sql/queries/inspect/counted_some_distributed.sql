-- As counted_some.sql, where the table lies in several shards: $1 rows of each status at the most, by workflow,
-- since Citus joins them to no LATERAL with a limit.
SELECT status::text AS status, workflow::text AS workflow, count(*)::text AS instances
FROM (
    (
        SELECT status, workflow FROM /* schema */workflow_instances
        WHERE status = 'pending' LIMIT $1::text::bigint
    )
    UNION ALL
    (
        SELECT status, workflow FROM /* schema */workflow_instances
        WHERE status = 'running' LIMIT $1::text::bigint
    )
    UNION ALL
    (
        SELECT status, workflow FROM /* schema */workflow_instances
        WHERE status = 'waiting' LIMIT $1::text::bigint
    )
    UNION ALL
    (
        SELECT status, workflow FROM /* schema */workflow_instances
        WHERE status = 'completed' LIMIT $1::text::bigint
    )
    UNION ALL
    (
        SELECT status, workflow FROM /* schema */workflow_instances
        WHERE status = 'failed' LIMIT $1::text::bigint
    )
) AS limited
GROUP BY status, workflow
