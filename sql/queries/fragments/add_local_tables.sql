-- The two small tables stay on the coordinator, and become known to the worker nodes.
SELECT citus_add_local_table_to_metadata(oid::regclass)
FROM pg_class
WHERE oid IN (
        to_regclass('/* schema */workflow_runners'),
        to_regclass('/* schema */hephaestus_pg_migrations')
    )
    AND NOT EXISTS (SELECT 1 FROM pg_dist_partition WHERE logicalrelid = oid);
