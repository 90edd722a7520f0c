-- A role or a database may have the server end sessions that are idle: one that listens is.
SELECT set_config('idle_session_timeout', '0', false) AS idle_session_timeout
