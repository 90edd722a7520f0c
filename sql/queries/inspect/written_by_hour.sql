-- The rows last written in each of the last 24 hours, by workflow and status. Of a status with fewer than $1
-- rows they are counted. Those of the others are estimated from $2 pages of the table at random, since there
-- is no index of updated_at.
WITH clock AS (
    SELECT date_trunc('hour', statement_timestamp() AT TIME ZONE 'UTC') - interval '23 hours' AS first
), share AS (
    SELECT least(1, $2::text::float8 * current_setting('block_size')::float8 / greatest(1, /* include: table_bytes */)) AS share
), /* include: instances_of_statuses */, written AS (
    SELECT found.updated_at, found.workflow, counted.status, true AS is_few
    FROM counted
    CROSS JOIN LATERAL (
        SELECT held.workflow, held.updated_at
        FROM /* schema */workflow_instances AS held
        WHERE
            counted.instances < $1::text::bigint
            AND held.status >= counted.status
            AND held.status <= counted.status
        ORDER BY held.status
        LIMIT $1::text::bigint
    ) AS found
    UNION ALL
    SELECT held.updated_at, held.workflow, held.status, false
    FROM /* schema */workflow_instances AS held TABLESAMPLE SYSTEM (100 * (SELECT share FROM share))
    WHERE held.status IN (SELECT status FROM counted WHERE instances >= $1::text::bigint)
)
SELECT
    extract(epoch FROM date_trunc('hour', updated_at))::text AS hour,
    workflow::text AS workflow,
    status::text AS status,
    round(count(*) / CASE WHEN is_few THEN 1 ELSE (SELECT share FROM share) END)::text AS instances,
    (is_few OR (SELECT share = 1 FROM share))::text AS is_exact
FROM written
WHERE updated_at >= (SELECT first FROM clock)
GROUP BY date_trunc('hour', updated_at), workflow, status, is_few
