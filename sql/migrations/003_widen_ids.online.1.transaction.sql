-- Expand: a second column that every writer fills without knowing. Adding it waits until all who
-- wrote before are done, so whoever writes later meets the trigger.
ALTER TABLE /* schema */workflow_instances
    ADD COLUMN IF NOT EXISTS hephaestus_pg_wide_id varchar(255);

CREATE OR REPLACE FUNCTION /* schema */hephaestus_pg_wide_id() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.hephaestus_pg_wide_id := NEW.id::text;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER hephaestus_pg_wide_id
    BEFORE INSERT OR UPDATE ON /* schema */workflow_instances
    FOR EACH ROW EXECUTE FUNCTION /* schema */hephaestus_pg_wide_id();

-- Once validated, it spares SET NOT NULL its scan under the exclusive lock of the swap.
ALTER TABLE /* schema */workflow_instances
    DROP CONSTRAINT IF EXISTS hephaestus_pg_wide_id_filled,
    ADD CONSTRAINT hephaestus_pg_wide_id_filled
        CHECK (hephaestus_pg_wide_id IS NOT NULL) NOT VALID;

-- Begins without what an interrupted run left.
SET LOCAL hephaestus_pg.indexes = 'hephaestus_pg_wide_id_key';

/* include: migrations_drop_invalid_indexes */
