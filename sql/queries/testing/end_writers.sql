-- Ends the sessions of clients that may have written to the tables, in transactions still open.
SELECT pg_terminate_backend(writer.pid::integer)::text AS ended
FROM (
    SELECT DISTINCT pg_locks.pid
    FROM pg_locks
    JOIN pg_stat_activity ON pg_stat_activity.pid = pg_locks.pid
    WHERE
        pg_locks.relation IN (
            '/* schema */workflow_instances'::regclass, '/* schema */workflow_runners'::regclass
        )
        AND pg_locks.granted
        AND pg_locks.mode <> 'AccessShareLock'
        AND pg_stat_activity.backend_type = 'client backend'
        AND pg_locks.pid <> pg_backend_pid()
) AS writer
