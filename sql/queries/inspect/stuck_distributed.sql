-- As stuck.sql, where the table lies in several shards: those that were inserted first of all workflows
-- together, and joins of what the shards have given, since Citus takes neither a recursive query nor a LATERAL
-- with a limit.
WITH bound AS (
    SELECT statement_timestamp() - $1::text::float8 * interval '1 second' AS bound
), living AS (
    SELECT token, started_at
    FROM /* schema */workflow_runners
    WHERE expires_at > statement_timestamp()
), owned AS (
    SELECT held.id, held.runner, held.updated_at
    FROM /* schema */workflow_instances AS held
    WHERE held.runner IS NOT NULL
), ready AS (
    SELECT held.id, held.updated_at
    FROM /* schema */workflow_instances AS held
    WHERE
        /* include: is_ready */
        AND held.inserted_at < (SELECT bound AT TIME ZONE 'UTC' FROM bound)
        AND held.updated_at < (SELECT bound AT TIME ZONE 'UTC' FROM bound)
    ORDER BY held.inserted_at
    LIMIT $2::text::bigint
), due AS (
    SELECT held.id, held.due_at, held.updated_at
    FROM /* schema */workflow_instances AS held
    WHERE
        held.due_at < (SELECT bound FROM bound)
        AND held.updated_at < (SELECT bound AT TIME ZONE 'UTC' FROM bound)
        AND /* include: is_timed */
    ORDER BY held.due_at
    LIMIT $2::text::bigint
), exhausted AS (
    SELECT held.id, held.updated_at
    FROM /* schema */workflow_instances AS held
    WHERE held.due_at = 'infinity' AND held.runner IS NULL AND held.attempts > 0
), found AS (
    SELECT exhausted.id, 'exhausted' AS reason, exhausted.updated_at AT TIME ZONE 'UTC' AS since
    FROM exhausted
    UNION ALL
    SELECT
        owned.id,
        CASE WHEN living.token IS NULL THEN 'orphaned' ELSE 'silent' END,
        greatest(owned.updated_at AT TIME ZONE 'UTC', living.started_at)
    FROM owned
    LEFT JOIN living ON living.token = owned.runner
    UNION ALL
    SELECT ready.id, 'unclaimed', ready.updated_at AT TIME ZONE 'UTC'
    FROM ready
    UNION ALL
    SELECT due.id, 'unclaimed', greatest(due.due_at, due.updated_at AT TIME ZONE 'UTC')
    FROM due
), /* include: longest_stuck */
