-- The table's columns that matching.sql looks at and hands on.
id, workflow, status, workflow_version, state, revision, inserted_at, updated_at, due_at, runner, attempts
