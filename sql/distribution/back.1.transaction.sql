/* include: lock_all_tables */

/* include: note_left_behind */

SELECT citus_schema_undistribute(schemaid::regnamespace)
FROM pg_dist_schema
WHERE schemaid = btrim('/* schema */', '".')::regnamespace;

-- By id, or after an online run that was interrupted.
SELECT undistribute_table(logicalrelid)
FROM pg_dist_partition
WHERE logicalrelid IN (
    to_regclass('/* schema */workflow_instances'),
    to_regclass('/* schema */workflow_runners'),
    to_regclass('/* schema */hephaestus_pg_migrations')
);

/* include: keep_left_behind */
