-- The table's rows as the planner estimates them: its pages by now, filled as they were when they were
-- counted last, or with rows of 1 KB if they never were. 0 without a table.
SELECT coalesce((
    SELECT
        CASE
            WHEN reltuples > 0 AND relpages > 0 THEN
                reltuples * pg_relation_size(oid) / (relpages * current_setting('block_size')::float8)
            ELSE pg_relation_size(oid) / 1024.0
        END
    FROM pg_class
    WHERE oid = to_regclass('/* schema */workflow_instances') AND relkind = 'r'
), 0)::bigint
