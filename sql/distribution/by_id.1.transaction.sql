/* include: lock_all_tables */

/* include: drop_revision_trigger */

-- Rows cannot be copied to one shard after the other.
SET LOCAL citus.multi_shard_modify_mode = 'parallel';

-- Colocated with none, so that each schema has its own number of shards, and is moved by itself.
SELECT create_distributed_table(
    '/* schema */workflow_instances',
    'id',
    colocate_with => 'none',
    shard_count => current_setting('hephaestus_pg.shards')::integer
);

/* include: drop_local_rows */

/* include: add_local_tables */
