-- $1 the token, $2 the name, $3 the workflows, $4 seconds of the lease. All moments are the server's.
INSERT INTO /* schema */workflow_runners (token, name, workflows, started_at, expires_at)
VALUES (
    $1::text::uuid,
    $2::text,
    $3::text[],
    statement_timestamp(),
    statement_timestamp() + make_interval(secs => $4::text::double precision)
)
RETURNING token::text AS token
