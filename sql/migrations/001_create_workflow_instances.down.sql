-- The table is locked first, so that no instance is inserted between the check and the drop.
DO $$
BEGIN
    LOCK TABLE /* schema */workflow_instances IN ACCESS EXCLUSIVE MODE;
    IF current_setting('hephaestus_pg.allow_row_loss', true) IS DISTINCT FROM 'on'
        AND EXISTS (SELECT 1 FROM /* schema */workflow_instances)
    THEN
        RAISE EXCEPTION 'dropping workflow_instances would lose the instances in it'
            USING ERRCODE = 'YDL01', HINT = '--allow-row-loss';
    END IF;
EXCEPTION
    WHEN undefined_table OR invalid_schema_name THEN NULL;
END
$$;

DROP TABLE IF EXISTS /* schema */workflow_instances;
