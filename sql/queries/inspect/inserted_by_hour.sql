-- The number of rows inserted in each of the last 24 hours, the oldest hour first. Of each quarter of an hour
-- $1 rows at the most are read from the index: if there are more, what those took of the quarter tells how
-- many it has.
WITH clock AS (
    SELECT date_trunc('hour', statement_timestamp() AT TIME ZONE 'UTC') - interval '23 hours' AS first
)
SELECT
    extract(epoch FROM date_trunc('hour', quarter.start))::text AS hour,
    round(sum(CASE
        WHEN read.instances < $1::text::bigint THEN read.instances
        ELSE read.instances * 900 / (1 + extract(epoch FROM read.until - quarter.start))
    END))::text AS inserted,
    bool_and(read.instances < $1::text::bigint)::text AS is_exact
FROM clock
CROSS JOIN generate_series(
    clock.first, clock.first + interval '23 hours 45 minutes', interval '15 minutes'
) AS quarter (start)
CROSS JOIN LATERAL (
    SELECT count(*) AS instances, max(few.inserted_at) AS until
    FROM (
        SELECT held.inserted_at
        FROM /* schema */workflow_instances AS held
        WHERE
            held.inserted_at >= quarter.start
            AND held.inserted_at < quarter.start + interval '15 minutes'
        ORDER BY held.inserted_at
        LIMIT $1::text::bigint
    ) AS few
) AS read
GROUP BY date_trunc('hour', quarter.start)
ORDER BY date_trunc('hour', quarter.start)
