-- As counted_sample.sql, where the table lies in several shards: Citus takes no sub-SELECT beside what the
-- shards count.
WITH share AS (
    SELECT least(1, $1::text::float8 * current_setting('block_size')::float8 / greatest(
        1, /* include: table_bytes */
    )) AS share
), counted AS (
    SELECT status, workflow, count(*) AS instances
    FROM /* schema */workflow_instances TABLESAMPLE SYSTEM (100 * (SELECT share FROM share))
    GROUP BY status, workflow
)
SELECT counted.status::text AS status, counted.workflow::text AS workflow,
    round(counted.instances / share.share)::text AS instances
FROM counted
CROSS JOIN share
