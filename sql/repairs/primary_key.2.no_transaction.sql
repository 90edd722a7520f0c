CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS workflow_instances_pkey
    ON /* schema */workflow_instances (id)
