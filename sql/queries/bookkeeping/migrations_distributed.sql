-- A row if Citus keeps the table in several shards; only for a server that has Citus.
SELECT partmethod::text AS method
FROM pg_dist_partition
WHERE logicalrelid = to_regclass('/* schema */workflow_instances') AND partmethod = 'h'
