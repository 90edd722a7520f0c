-- The columns of a new row that are given; the others have defaults.
id, workflow, status, workflow_version, due_at, state, inserted_at, updated_at
