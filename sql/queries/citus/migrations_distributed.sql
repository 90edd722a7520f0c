-- A row if Citus knows the table, for a server that has Citus: how it keeps it, and in how many shards.
-- Numbers are oids, as in migrations_found.
SELECT
    CASE
        WHEN partmethod = 'h' AND column_to_column_name(logicalrelid, partkey) = 'id' THEN 'id'
        WHEN partmethod <> 'n' THEN 'another column'
        WHEN repmodel = 't' THEN 'reference'
        WHEN colocationid > 0 THEN 'schema'
        ELSE 'local'
    END::text AS kind,
    (
        SELECT count(*) FROM pg_dist_shard AS shard WHERE shard.logicalrelid = known.logicalrelid
    )::integer::oid AS shards
FROM pg_dist_partition AS known
WHERE logicalrelid = to_regclass('/* schema */workflow_instances')
