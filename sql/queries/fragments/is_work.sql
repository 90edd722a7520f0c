(status IN ('pending', 'running') OR status = 'waiting' AND due_at IS NOT NULL)
