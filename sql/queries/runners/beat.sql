-- $1 the token, $2 seconds of the lease. A runner that has expired finds no row, and is dead.
UPDATE /* schema */workflow_runners
SET expires_at = statement_timestamp() + make_interval(secs => $2::text::double precision)
WHERE token = $1::text::uuid AND expires_at > statement_timestamp()
RETURNING token::text AS token
