-- As the index of what is ready has it.
held.runner IS NULL
AND held.due_at IS NULL
AND (held.status = 'pending' OR held.status = 'running')
