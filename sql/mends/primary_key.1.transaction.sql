-- A concurrent build that was interrupted leaves an invalid index, which IF NOT EXISTS would accept.
DO $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM pg_index
        WHERE indexrelid = to_regclass('/* schema */workflow_instances_pkey') AND NOT indisvalid
    ) THEN
        DROP INDEX /* schema */workflow_instances_pkey;
    END IF;
END
$$;
