DROP INDEX IF EXISTS /* schema */idx_workflow_instances_state;

-- Without an index over states, updates are heap-only wherever a page has room.
ALTER TABLE /* schema */workflow_instances
    DROP COLUMN IF EXISTS hephaestus_pg_initial,
    SET (fillfactor = 70);
