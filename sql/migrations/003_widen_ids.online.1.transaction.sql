-- The swap at the end drops the column id. What of others depends on it would go along unsaid, be it an
-- index, a check, a grant or what names rows for a subscriber; a view or a key would refuse it after
-- all the work.
DO $$
DECLARE
    of_others text;
BEGIN
    WITH ids AS (
        SELECT attrelid, attnum, attacl
        FROM pg_attribute
        WHERE attrelid = '/* schema */workflow_instances'::regclass AND attname = 'id'
    ),

    found (name) AS (
        SELECT pg_describe_object(classid, objid, objsubid)
        FROM pg_depend
        JOIN ids ON refclassid = 'pg_class'::regclass AND refobjid = attrelid AND refobjsubid = attnum
        WHERE NOT EXISTS (
            SELECT 1 FROM pg_constraint
            WHERE classid = 'pg_constraint'::regclass
                AND pg_constraint.oid = objid
                AND contype IN ('p', 'n')
                AND conkey = ARRAY[attnum]
        )

        UNION
        SELECT 'its grants' FROM ids WHERE attacl IS NOT NULL

        UNION
        SELECT 'its comment' FROM ids WHERE col_description(attrelid, attnum) IS NOT NULL

        UNION
        SELECT 'the replica identity by its index'
        FROM pg_index JOIN ids ON indrelid = attrelid
        WHERE indisreplident AND indisprimary
    )

    SELECT string_agg(name, ', ' ORDER BY name) INTO of_others FROM found;

    IF of_others IS NOT NULL THEN
        RAISE EXCEPTION '%', 'the online way makes the column id anew, without what depends on it: '
            || of_others || '; drop that and make it again afterwards, or give --no-online, which '
            'keeps it, unless it is a view, a foreign key, a policy or a publication';
    END IF;
END
$$;

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

-- For a subscriber's writes too, and a restore's, which the check below would refuse.
ALTER TABLE /* schema */workflow_instances ENABLE ALWAYS TRIGGER hephaestus_pg_wide_id;

-- Once validated, it lets SET NOT NULL skip its scan under the exclusive lock of the swap.
ALTER TABLE /* schema */workflow_instances
    DROP CONSTRAINT IF EXISTS hephaestus_pg_wide_id_filled,
    ADD CONSTRAINT hephaestus_pg_wide_id_filled
        CHECK (hephaestus_pg_wide_id IS NOT NULL) NOT VALID;

-- Drops an invalid index that an interrupted run left.
SET LOCAL hephaestus_pg.indexes = 'hephaestus_pg_wide_id_key';

/* include: drop_invalid_indexes */
