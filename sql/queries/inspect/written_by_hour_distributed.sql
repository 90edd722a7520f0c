-- As written_by_hour.sql, where the table lies in several shards: of each status an estimate from $2 pages, as
-- Citus joins the numbers of a few to no LATERAL with a limit.
WITH share AS (
    SELECT least(1, $2::text::float8 * current_setting('block_size')::float8 / greatest(1, /* include: table_bytes */)) AS share
), written AS MATERIALIZED (
    SELECT date_trunc('hour', held.updated_at) AS hour, held.workflow, held.status, count(*) AS sampled
    FROM /* schema */workflow_instances AS held TABLESAMPLE SYSTEM (100 * (SELECT share FROM share))
    WHERE
        held.updated_at
        >= date_trunc('hour', statement_timestamp() AT TIME ZONE 'UTC') - interval '23 hours'
        AND $1::text IS NOT NULL
    GROUP BY date_trunc('hour', held.updated_at), held.workflow, held.status
)
SELECT
    extract(epoch FROM written.hour)::text AS hour,
    written.workflow::text AS workflow,
    written.status::text AS status,
    round(written.sampled / share.share)::text AS instances,
    (share.share = 1)::text AS is_exact
FROM written CROSS JOIN share
