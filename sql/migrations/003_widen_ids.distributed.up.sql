-- Of a table that Citus keeps in one place, as in a distributed schema. It has no triggers that an
-- online run could have left, and refuses even DROP TRIGGER IF EXISTS.
DO $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM pg_attribute
        WHERE attrelid = '/* schema */workflow_instances'::regclass
            AND attname = 'id' AND atttypid = 'uuid'::regtype
    ) THEN
        ALTER TABLE /* schema */workflow_instances
            ALTER COLUMN id TYPE varchar(255) USING id::text;
    END IF;
END
$$;
