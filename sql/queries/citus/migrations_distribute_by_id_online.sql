-- $1 how many shards.
SELECT create_distributed_table_concurrently(
    '/* schema */workflow_instances', 'id', colocate_with => 'none', shard_count => $1::integer
)
