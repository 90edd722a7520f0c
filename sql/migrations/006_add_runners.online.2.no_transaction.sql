-- It is built without stopping writers, so that the .up file has nothing left to do.
CREATE INDEX CONCURRENTLY IF NOT EXISTS workflow_instances_ready_index
    ON /* schema */workflow_instances (workflow, inserted_at)
    WHERE runner IS NULL AND due_at IS NULL AND (status = 'pending' OR status = 'running')
