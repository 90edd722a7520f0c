-- Ends dead runners, as take_over.sql does, but by itself. Their tokens, separated by commas.
WITH dead AS (
    DELETE FROM /* schema */workflow_runners
    WHERE expires_at <= statement_timestamp()
    RETURNING token
)
SELECT coalesce(string_agg(token::text, ','), '') AS tokens FROM dead
