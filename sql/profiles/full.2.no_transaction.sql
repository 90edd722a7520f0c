CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_workflow_instances_state
    ON /* schema */workflow_instances USING gin (state jsonb_path_ops)
