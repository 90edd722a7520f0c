-- The cluster, for a server that has Citus. Numbers are oids, as in migrations_found.
SELECT
    extversion::text AS version,
    (
        SELECT count(*) FROM pg_dist_node
        WHERE isactive AND shouldhaveshards AND noderole = 'primary'
    )::integer::oid AS workers,
    current_setting('wal_level')::text AS wal_level,
    (EXISTS (SELECT 1 FROM pg_dist_node WHERE groupid = 0))::integer::oid AS has_coordinator
FROM pg_extension
WHERE extname = 'citus'
