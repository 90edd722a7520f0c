-- A GIN index collects new entries in a pending list, and the put that fills the list has to merge
-- all of it: with PostgreSQL's 4 MB now and then a put takes a quarter of a second, with 1 MB a
-- tenth. A shorter list costs too much throughput, most of all with large states.
ALTER INDEX /* schema */idx_workflow_instances_state SET (gin_pending_list_limit = 1024);

ALTER TABLE /* schema */workflow_instances
    DROP COLUMN IF EXISTS hephaestus_pg_initial,
    RESET (fillfactor);
