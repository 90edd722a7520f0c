-- One comparison: of several the planner might read an index for the status or the moment. Citus
-- refuses statement_timestamp() inside CASE.
runner IS NULL
AND CASE
    WHEN status IN ('pending', 'running') THEN coalesce(due_at, '-infinity')
    WHEN status = 'waiting' THEN due_at
END <= statement_timestamp()
