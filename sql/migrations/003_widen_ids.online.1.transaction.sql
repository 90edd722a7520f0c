-- Expand: a trigger fills a second column at every write. Adding the column waits for the writers
-- that began before, so that no write misses the trigger.
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

-- Once validated, it lets SET NOT NULL skip its scan under the exclusive lock of the swap.
ALTER TABLE /* schema */workflow_instances
    DROP CONSTRAINT IF EXISTS hephaestus_pg_wide_id_filled,
    ADD CONSTRAINT hephaestus_pg_wide_id_filled
        CHECK (hephaestus_pg_wide_id IS NOT NULL) NOT VALID;

-- Drops an invalid index that an interrupted run left.
SET LOCAL hephaestus_pg.indexes = 'hephaestus_pg_wide_id_key';

/* include: drop_invalid_indexes */
