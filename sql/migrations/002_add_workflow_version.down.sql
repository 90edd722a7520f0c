-- Without the column every instance counts as version 1: others lose their version.
DO $$
BEGIN
    LOCK TABLE /* schema */workflow_instances IN ACCESS EXCLUSIVE MODE;
    IF current_setting('hephaestus_pg.allow_version_loss', true) IS DISTINCT FROM 'on'
        AND EXISTS (SELECT 1 FROM /* schema */workflow_instances WHERE workflow_version <> 1)
    THEN
        RAISE EXCEPTION 'dropping workflow_version would lose versions other than 1'
            USING ERRCODE = 'YDL01', HINT = '--allow-version-loss';
    END IF;
EXCEPTION
    WHEN undefined_table OR undefined_column OR invalid_schema_name THEN NULL;
END
$$;

-- An interrupted online run of 003 that was never repeated leaves these. A distributed table refuses
-- even DROP TRIGGER IF EXISTS, so the catalog is asked first.
DO $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM pg_trigger
        WHERE tgrelid = to_regclass('/* schema */workflow_instances')
            AND tgname = 'hephaestus_pg_wide_id'
    ) THEN
        DROP TRIGGER hephaestus_pg_wide_id ON /* schema */workflow_instances;
    END IF;
END
$$;

DROP FUNCTION IF EXISTS /* schema */hephaestus_pg_wide_id();

ALTER TABLE IF EXISTS /* schema */workflow_instances
    DROP COLUMN IF EXISTS hephaestus_pg_wide_id;

DROP INDEX IF EXISTS /* schema */workflow_instances_workflow_workflow_version_index;

ALTER TABLE IF EXISTS /* schema */workflow_instances
    DROP COLUMN IF EXISTS workflow_version;
