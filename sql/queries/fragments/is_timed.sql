-- As the index of what is due at a moment has it.
held.runner IS NULL AND held.status = ANY ('{pending,running,waiting}'::text[])
