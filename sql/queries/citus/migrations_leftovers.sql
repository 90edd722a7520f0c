-- $1 the schema. The shards that Citus has still to drop: of a move that was interrupted, or that has just ended.
SELECT count(*)
FROM pg_dist_cleanup
WHERE object_name ~ ('^"?' || $1::text || '"?\.workflow_instances_\d+$')
