-- How many rows were inserted in each of the last 24 hours, and how many last written in it; the oldest
-- hour first. Of each quarter of an hour $1 rows at the most are read from the index by inserted_at: if
-- there are more, what those took of the quarter tells how many it has. There is no index of
-- updated_at, so those are estimated from $2 pages of the table at random.
WITH clock AS (
    SELECT date_trunc('hour', statement_timestamp() AT TIME ZONE 'UTC') - interval '23 hours' AS first
), share AS (
    SELECT least(1, $2::text::float8 * current_setting('block_size')::float8 / greatest(1, pg_relation_size(
        '/* schema */workflow_instances'
    ))) AS share
), written AS (
    SELECT date_trunc('hour', updated_at) AS hour, count(*) / (SELECT share FROM share) AS instances
    FROM /* schema */workflow_instances TABLESAMPLE SYSTEM (100 * (SELECT share FROM share))
    WHERE updated_at >= (SELECT first FROM clock)
    GROUP BY date_trunc('hour', updated_at)
), inserted AS (
    SELECT
        date_trunc('hour', quarter.start) AS hour,
        sum(CASE
            WHEN read.instances < $1::text::bigint THEN read.instances
            ELSE read.instances * 900 / (1 + extract(epoch FROM read.until - quarter.start))
        END) AS instances,
        bool_and(read.instances < $1::text::bigint) AS is_exact
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
)
SELECT
    extract(epoch FROM inserted.hour)::text AS hour,
    round(inserted.instances)::text AS inserted,
    inserted.is_exact::text AS is_exact,
    coalesce(round(written.instances), 0)::text AS written,
    (SELECT share = 1 FROM share)::text AS is_whole
FROM inserted
LEFT JOIN written USING (hour)
ORDER BY inserted.hour
