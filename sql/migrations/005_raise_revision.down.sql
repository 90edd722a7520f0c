-- A distributed table refuses even DROP TRIGGER IF EXISTS, so the catalog is asked first.
DO $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM pg_trigger
        WHERE tgrelid = to_regclass('/* schema */workflow_instances')
            AND tgname = 'hephaestus_pg_raise_revision'
    ) THEN
        DROP TRIGGER hephaestus_pg_raise_revision ON /* schema */workflow_instances;
    END IF;
END
$$;

DROP FUNCTION IF EXISTS /* schema */hephaestus_pg_raise_revision();

-- The default stays. It does version 4 no harm, and with a default of 1 an id that is deleted and
-- inserted again could reach a revision that a client still holds.
