-- It is built without stopping writers, so that the .up file has nothing left to do.
CREATE INDEX CONCURRENTLY IF NOT EXISTS workflow_instances_runner_index
    ON /* schema */workflow_instances (runner)
    WHERE runner IS NOT NULL
