-- Loses no data of an instance, only the counters: after another up they begin where none has been.
DROP INDEX IF EXISTS /* schema */workflow_instances_workflow_family_index;

DROP INDEX IF EXISTS /* schema */workflow_instances_inserted_at_id_index;

ALTER TABLE IF EXISTS /* schema */workflow_instances
    DROP COLUMN IF EXISTS revision,
    DROP COLUMN IF EXISTS hephaestus_pg_initial,
    RESET (fillfactor);

-- Whichever index was chosen since, the versions below have their own, as it was.
DO $$
BEGIN
    CREATE INDEX IF NOT EXISTS idx_workflow_instances_state
        ON /* schema */workflow_instances USING gin (state jsonb_path_ops);
    ALTER INDEX /* schema */idx_workflow_instances_state RESET (gin_pending_list_limit);
EXCEPTION
    WHEN undefined_table OR invalid_schema_name THEN NULL;
END
$$;
