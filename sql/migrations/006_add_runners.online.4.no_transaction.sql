-- It is built without stopping writers, so that the .up file has nothing left to do.
CREATE INDEX CONCURRENTLY IF NOT EXISTS workflow_instances_due_at_index
    ON /* schema */workflow_instances (due_at)
    WHERE due_at IS NOT NULL
