DELETE FROM /* schema */workflow_runners
WHERE expires_at <= statement_timestamp()
RETURNING token
