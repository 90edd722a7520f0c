-- It is built without stopping writers, so that the .up file has nothing left to do.
CREATE INDEX CONCURRENTLY IF NOT EXISTS workflow_instances_inserted_at_id_index
    ON /* schema */workflow_instances (inserted_at, id)
