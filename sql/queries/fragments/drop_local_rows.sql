-- Citus copies the rows to the workers, and leaves them here, where nobody sees them any more.
SELECT truncate_local_data_after_distributing_table(logicalrelid::regclass)
FROM pg_dist_partition
WHERE logicalrelid IN (
        to_regclass('/* schema */workflow_instances'),
        to_regclass('/* schema */workflow_runners'),
        to_regclass('/* schema */hephaestus_pg_migrations')
    )
    AND (partmethod = 'h' OR colocationid > 0);
