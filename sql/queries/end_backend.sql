-- $1 the process id of a backend of ours. Behind a pooler, the id that a client knows is not own_pid.
SELECT
    pg_backend_pid() AS own_pid,
    count(pg_terminate_backend(pid)) AS living
FROM pg_stat_activity
WHERE pid = $1::integer
    AND pid <> pg_backend_pid()
    AND usename = current_user
    AND datname = current_database()
