-- The planner has no statistics of a new column.
ANALYZE /* schema */workflow_instances (hephaestus_pg_initial)
