-- $1 the process id of a backend of ours, $2 the one that we take for this session's own. Behind a
-- pooler clients are given ids that are no backend's, or another's: then nobody is ended.
-- $3 seconds, somewhat fewer than have passed since the backend was seen: one that began later has
-- been given the id since, as ids start low again where a container does, and is left in peace.
-- Under another role than the session's, such as a tenant's, the start is hidden and ending is denied:
-- that error says that nobody can tell.
SELECT
    (pg_backend_pid() = $2::text::integer)::text AS direct,
    count(pg_terminate_backend(pid))::text AS told_to_end
FROM pg_stat_activity
WHERE pid = $1::text::integer
    AND pid <> pg_backend_pid()
    AND pg_backend_pid() = $2::text::integer
    AND usename = session_user
    AND datname = current_database()
    AND coalesce(backend_start, '-infinity')
        <= clock_timestamp() - make_interval(secs => $3::text::double precision)
