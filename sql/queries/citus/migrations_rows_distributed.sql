-- The table's rows, taken for 1 KB each: the coordinator's planner knows nothing of the shards.
SELECT citus_relation_size(to_regclass('/* schema */workflow_instances')) / 1024
