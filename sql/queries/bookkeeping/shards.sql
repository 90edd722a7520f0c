-- The lowest hash of each shard of a table that Citus distributes by id.
SELECT shardminvalue::text AS lowest
FROM pg_dist_shard
WHERE logicalrelid = to_regclass('/* schema */workflow_instances')
