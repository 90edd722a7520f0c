-- Lists the sessions that hold what a migration waits for, the oldest first: if $1 is true the lock
-- of this schema's migrations, else locks of its tables. A prepared transaction has no process.
SELECT DISTINCT
    held.pid,
    coalesce(nullif(application_name, ''), backend_type, '') AS application,
    to_char(
        coalesce(xact_start, backend_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'
    ) AS since
FROM pg_locks AS held
LEFT JOIN pg_stat_activity AS activity ON activity.pid = held.pid
WHERE held.granted
    AND held.pid IS DISTINCT FROM pg_backend_pid()
    AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND CASE
        WHEN $1::boolean THEN
            held.locktype = 'advisory'
            AND held.objsubid = 1
            AND (held.classid::bigint << 32) | held.objid::bigint
            = hashtextextended('/* schema */hephaestus_pg_migrations', 0)
        ELSE
            held.locktype = 'relation'
            AND held.relation IN (
                to_regclass('/* schema */workflow_instances'),
                to_regclass('/* schema */workflow_runners'),
                to_regclass('/* schema */hephaestus_pg_migrations')
            )
    END
ORDER BY since NULLS LAST, held.pid
LIMIT 3
