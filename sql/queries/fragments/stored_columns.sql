id, workflow, status, workflow_version, state, revision, inserted_at, updated_at, due_at, runner
