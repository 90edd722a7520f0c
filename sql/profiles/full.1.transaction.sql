-- A concurrent build that was interrupted leaves an invalid index, which IF NOT EXISTS would accept.
DO $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM pg_index
        WHERE indexrelid = to_regclass('/* schema */idx_workflow_instances_state') AND NOT indisvalid
    ) THEN
        DROP INDEX /* schema */idx_workflow_instances_state;
    END IF;
END
$$;
