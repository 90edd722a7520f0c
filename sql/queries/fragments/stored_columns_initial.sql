id, workflow, status, workflow_version, state, revision, inserted_at, updated_at, hephaestus_pg_initial
