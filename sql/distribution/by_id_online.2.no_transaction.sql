-- Its last lock is held for a moment, and everybody would queue behind it. Without it in time, all of the
-- copy is for nothing: so it waits longer than others do.
SET lock_timeout = '2s';

SELECT create_distributed_table_concurrently(
    '/* schema */workflow_instances',
    'id',
    colocate_with => 'none',
    shard_count => current_setting('hephaestus_pg.shards')::integer
);
