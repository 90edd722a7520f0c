-- Those of our tables that Citus knows, in whichever way.
SELECT logicalrelid::text AS name
FROM pg_dist_partition
WHERE logicalrelid IN (
    to_regclass('/* schema */workflow_instances'),
    to_regclass('/* schema */workflow_runners'),
    to_regclass('/* schema */hephaestus_pg_migrations')
)
ORDER BY 1
