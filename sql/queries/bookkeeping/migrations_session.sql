-- What the session is that a migration would run in.
SELECT
    pg_backend_pid() AS pid,
    pg_is_in_recovery() AS standby,
    current_setting('transaction_read_only') AS read_only,
    to_regclass('pg_catalog.pg_dist_local_group') IS NOT NULL AS has_citus
