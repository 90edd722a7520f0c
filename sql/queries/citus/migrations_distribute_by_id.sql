-- $1 how many shards. Each schema is moved and rebalanced by itself, so none is colocated with it.
SELECT create_distributed_table(
    '/* schema */workflow_instances', 'id', colocate_with => 'none', shard_count => $1::integer
)
