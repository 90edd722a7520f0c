-- Where the column was taken back once, somebody may still hold revisions of then: so rows that are
-- there begin at this moment's microseconds, where none of them has been. The expression is stable,
-- so that it is computed once and kept in the catalog: no row is rewritten.
ALTER TABLE /* schema */workflow_instances
    ADD COLUMN IF NOT EXISTS revision bigint NOT NULL
        DEFAULT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint;

-- Rows that come begin at 1 until 005, or as 005 has it, if it was taken back and left its default.
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
