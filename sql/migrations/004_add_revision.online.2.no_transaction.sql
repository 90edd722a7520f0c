-- Built without stopping writers; the .up file then finds it there.
CREATE INDEX CONCURRENTLY IF NOT EXISTS workflow_instances_workflow_family_index
    ON /* schema */workflow_instances (workflow COLLATE "C")
