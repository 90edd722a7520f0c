-- True on a worker node of a Citus cluster, whose tables are the coordinator's to change.
SELECT groupid > 0 FROM pg_dist_local_group
