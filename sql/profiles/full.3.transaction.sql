-- What a put adds waits in a list, and whoever fills the list sorts all of it in: with PostgreSQL's
-- 4 MB that is a put of a quarter of a second now and then, with 1 MB a tenth. Shorter ones take
-- too much from the throughput, and from large states the most.
ALTER INDEX /* schema */idx_workflow_instances_state SET (gin_pending_list_limit = 1024);

ALTER TABLE /* schema */workflow_instances
    DROP COLUMN IF EXISTS hephaestus_pg_initial,
    RESET (fillfactor);
