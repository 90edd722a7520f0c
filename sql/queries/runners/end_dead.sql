-- As take_over.sql does, but by itself.
DELETE FROM /* schema */workflow_runners
WHERE expires_at <= statement_timestamp()
RETURNING token::text AS token
