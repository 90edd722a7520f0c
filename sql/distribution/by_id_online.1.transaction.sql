/* include: drop_revision_trigger */

/* include: note_left_behind */

-- The stage after this would do it too, in a transaction of its own and without the comment.
SELECT citus_add_local_table_to_metadata('/* schema */workflow_instances')
WHERE NOT EXISTS (
    SELECT 1 FROM pg_dist_partition
    WHERE logicalrelid = '/* schema */workflow_instances'::regclass
);

/* include: keep_left_behind */
