CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS hephaestus_pg_wide_id_key
    ON /* schema */workflow_instances (hephaestus_pg_wide_id)
