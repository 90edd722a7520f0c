-- Citus distributes no table with a trigger, and refuses DROP TRIGGER IF EXISTS of one that is.
DO $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM pg_trigger
        WHERE tgrelid = '/* schema */workflow_instances'::regclass
            AND tgname = 'hephaestus_pg_raise_revision'
    ) THEN
        DROP TRIGGER hephaestus_pg_raise_revision ON /* schema */workflow_instances;
    END IF;
END
$$;

DROP FUNCTION IF EXISTS /* schema */hephaestus_pg_raise_revision();
