/* include: lock_all_tables */

/* include: drop_revision_trigger */

-- Rows cannot be copied to one shard after the other.
SET LOCAL citus.multi_shard_modify_mode = 'parallel';

SELECT citus_schema_distribute(btrim('/* schema */', '".')::regnamespace);

/* include: drop_local_rows */
