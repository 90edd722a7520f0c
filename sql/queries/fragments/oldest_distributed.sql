-- As oldest.sql, where the table lies in several shards: Citus joins them to no LATERAL with a limit,
-- so that each shard looks through all these workflows at once.
(
    SELECT held.id, held.inserted_at AT TIME ZONE 'UTC' AS due
    FROM /* schema */workflow_instances AS held
    WHERE held.workflow = ANY ($2::text[]) AND /* include: is_ready */
    ORDER BY held.inserted_at
    LIMIT $4::text::bigint
)
UNION ALL
(
    SELECT held.id, held.due_at
    FROM /* schema */workflow_instances AS held
    WHERE held.workflow = ANY ($2::text[])
        AND /* include: is_timed */
        AND held.due_at <= statement_timestamp()
    ORDER BY held.due_at
    LIMIT $4::text::bigint
)
