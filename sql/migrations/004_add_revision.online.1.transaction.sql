-- A concurrent build that was interrupted leaves an invalid index, which IF NOT EXISTS would accept.
DO $$
DECLARE
    broken regclass;
BEGIN
    FOR broken IN
        SELECT indexrelid
        FROM pg_index
        WHERE NOT indisvalid AND indexrelid IN (
            to_regclass('/* schema */workflow_instances_workflow_family_index'),
            to_regclass('/* schema */workflow_instances_inserted_at_id_index')
        )
    LOOP
        EXECUTE 'DROP INDEX ' || broken;
    END LOOP;
END
$$;
