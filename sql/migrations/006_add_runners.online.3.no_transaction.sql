-- It is built without stopping writers, so that the .up file has nothing left to do.
CREATE INDEX CONCURRENTLY IF NOT EXISTS workflow_instances_due_index
    ON /* schema */workflow_instances (workflow, due_at)
    WHERE runner IS NULL AND due_at IS NOT NULL AND status = ANY ('{pending,running,waiting}'::text[])
