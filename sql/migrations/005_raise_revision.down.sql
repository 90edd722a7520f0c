-- Looks first: where a table cannot have triggers, even DROP TRIGGER IF EXISTS is refused.
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

-- The default stays: it does version 4 no harm, and with 1 in its place an id that is inserted again
-- meanwhile could come to a revision that somebody still holds.
