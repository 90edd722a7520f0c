-- If the column was taken back before, a client may still hold revisions from then. Existing rows
-- therefore begin at the current time in microseconds, which no old revision has reached. The
-- expression is stable, so that it is computed once and kept in the catalog: no row is rewritten.
ALTER TABLE /* schema */workflow_instances
    ADD COLUMN IF NOT EXISTS revision bigint NOT NULL
        DEFAULT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint;

-- New rows begin at 1 until 005 is applied; if 005 was taken back, its default stays.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1
        FROM pg_attrdef
        JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
        WHERE adrelid = '/* schema */workflow_instances'::regclass
            AND attname = 'revision'
            AND pg_get_expr(adbin, adrelid) ~ 'clock_timestamp'
    ) THEN
        ALTER TABLE /* schema */workflow_instances ALTER COLUMN revision SET DEFAULT 1;
    END IF;
END
$$;
