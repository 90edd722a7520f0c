-- Whether a process waits to be told: one look a statement, into a table that is empty while none does.
(
    SELECT 'true' FROM /* schema */workflow_runners
    WHERE expires_at > statement_timestamp()
    LIMIT 1
)
