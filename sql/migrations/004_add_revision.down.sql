-- No instance loses data, only its counter: after another up it begins above every old revision.
DROP INDEX IF EXISTS /* schema */workflow_instances_workflow_family_index;

DROP INDEX IF EXISTS /* schema */workflow_instances_inserted_at_id_index;

ALTER TABLE IF EXISTS /* schema */workflow_instances
    DROP COLUMN IF EXISTS revision,
    DROP COLUMN IF EXISTS hephaestus_pg_initial,
    RESET (fillfactor);

-- Whichever index was chosen since, the versions below have the full one with default settings.
DO $$
BEGIN
    CREATE INDEX IF NOT EXISTS idx_workflow_instances_state
        ON /* schema */workflow_instances USING gin (state jsonb_path_ops);
    ALTER INDEX /* schema */idx_workflow_instances_state RESET (gin_pending_list_limit);
EXCEPTION
    WHEN undefined_table OR invalid_schema_name THEN NULL;
END
$$;
