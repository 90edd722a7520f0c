-- All rows by status and workflow, estimated from $1 pages of the table at random.
WITH share AS (
    SELECT least(1, $1::text::float8 * current_setting('block_size')::float8 / greatest(1, /* include: table_bytes */)) AS share
)
SELECT status::text AS status, workflow::text AS workflow,
    round(count(*) / (SELECT share FROM share))::text AS instances
FROM /* schema */workflow_instances TABLESAMPLE SYSTEM (100 * (SELECT share FROM share))
GROUP BY status, workflow
