-- All rows by status and workflow, estimated from $1 pages of the table at random. They are counted apart, as
-- Citus takes no other table where shards count.
WITH share AS (
    SELECT least(1, $1::text::float8 * current_setting('block_size')::float8 / greatest(1, /* include: table_bytes */)) AS share
), sampled AS MATERIALIZED (
    SELECT status, workflow, count(*) AS instances
    FROM /* schema */workflow_instances TABLESAMPLE SYSTEM (100 * (SELECT share FROM share))
    GROUP BY status, workflow
)
SELECT
    sampled.status::text AS status,
    sampled.workflow::text AS workflow,
    round(sampled.instances / share.share)::text AS instances
FROM sampled CROSS JOIN share
