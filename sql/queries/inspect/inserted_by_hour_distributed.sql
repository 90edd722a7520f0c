-- As inserted_by_hour.sql, where the table lies in several shards: all of them count what they have of the day,
-- since Citus joins no table to generate_series by LATERAL.
WITH inserted AS MATERIALIZED (
    SELECT date_trunc('hour', held.inserted_at) AS hour, count(*) AS instances
    FROM /* schema */workflow_instances AS held
    WHERE
        held.inserted_at
        >= date_trunc('hour', statement_timestamp() AT TIME ZONE 'UTC') - interval '23 hours'
        AND $1::text IS NOT NULL
    GROUP BY date_trunc('hour', held.inserted_at)
)
SELECT
    extract(epoch FROM hours.start)::text AS hour,
    coalesce(inserted.instances, 0)::text AS inserted,
    'true'::text AS is_exact
FROM generate_series(
    date_trunc('hour', statement_timestamp() AT TIME ZONE 'UTC') - interval '23 hours',
    date_trunc('hour', statement_timestamp() AT TIME ZONE 'UTC'),
    interval '1 hour'
) AS hours (start)
LEFT JOIN inserted ON inserted.hour = hours.start
ORDER BY hours.start
