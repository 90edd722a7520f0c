-- A concurrent build that was interrupted leaves an invalid index, which IF NOT EXISTS would accept.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_index
        WHERE indexrelid = to_regclass('/* schema */workflow_instances_workflow_family_index')
            AND NOT indisvalid
    ) THEN
        DROP INDEX /* schema */workflow_instances_workflow_family_index;
    END IF;
END
$$;
