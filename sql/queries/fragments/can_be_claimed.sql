runner IS NULL
AND CASE
    WHEN status IN ('pending', 'running') THEN due_at IS NULL OR due_at <= statement_timestamp()
    WHEN status = 'waiting' THEN due_at <= statement_timestamp()
END
