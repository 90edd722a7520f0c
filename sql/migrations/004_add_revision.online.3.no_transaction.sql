-- Likewise.
CREATE INDEX CONCURRENTLY IF NOT EXISTS workflow_instances_inserted_at_id_index
    ON /* schema */workflow_instances (inserted_at, id)
