-- A row if Citus has the table, in several shards or in one; only for a server that has Citus.
SELECT (partmethod = 'h')::text AS has_several
FROM pg_dist_partition
WHERE logicalrelid = to_regclass('/* schema */workflow_instances')
