-- Ours. From here on every writer raises the revision, also one that does not know of it, and no
-- revision comes twice. The default first: its lock is the strictest, and is not to be waited for
-- with a weaker one in hand. Neither of the two rewrites the table, or reads it.
--
-- Microseconds since 1970: an id that is deleted and inserted again begins where no handle of the
-- instance before has been, since nobody writes it a million times a second.
ALTER TABLE /* schema */workflow_instances
    ALTER COLUMN revision SET DEFAULT (date_part('epoch', clock_timestamp()) * 1000000)::bigint;

-- It is run under the search_path of whoever writes, so nothing in it depends on that.
CREATE OR REPLACE FUNCTION /* schema */hephaestus_pg_raise_revision() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.revision := OLD.revision OPERATOR(pg_catalog.+) 1;
    RETURN NEW;
END
$$;

DO $$
BEGIN
    -- Our own statements raise the revision themselves, and so never call the function.
    CREATE OR REPLACE TRIGGER hephaestus_pg_raise_revision
        BEFORE UPDATE ON /* schema */workflow_instances
        FOR EACH ROW WHEN (NEW.revision = OLD.revision)
        EXECUTE FUNCTION /* schema */hephaestus_pg_raise_revision();
EXCEPTION
    -- A table that is distributed over several servers.
    WHEN feature_not_supported THEN
        RAISE INFO 'the table cannot have triggers: update does not see what other programs write';
END
$$;
