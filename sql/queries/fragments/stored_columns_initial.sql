-- The same, with the column that the index over initial contexts is on.
id, workflow, status, workflow_version, state, revision, inserted_at, updated_at, due_at, runner, attempts, hephaestus_pg_initial
