-- What HephaestusEcto's V03 leaves: business keys need more than a uuid. The table is rewritten under
-- a lock that stops readers too; the .online files do the same to a large table without.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = '/* schema */workflow_instances'::regclass
            AND attname = 'id' AND atttypid = 'uuid'::regtype
    ) THEN
        -- An online run that was interrupted and is not taken up again leaves these.
        DROP TRIGGER IF EXISTS hephaestus_pg_wide_id ON /* schema */workflow_instances;
        DROP FUNCTION IF EXISTS /* schema */hephaestus_pg_wide_id();
        ALTER TABLE /* schema */workflow_instances DROP COLUMN IF EXISTS hephaestus_pg_wide_id;

        ALTER TABLE /* schema */workflow_instances
            ALTER COLUMN id TYPE varchar(255) USING id::text;
    END IF;
END
$$;
