-- A row without its state, which stays on the server: only its size and the step it is at.
id::text AS id,
workflow::text AS workflow,
status::text AS status,
workflow_version::text AS workflow_version,
state ->> 'current_step' AS current_step,
pg_column_size(state)::oid AS state_bytes,
revision::text AS revision,
extract(epoch FROM inserted_at)::text AS inserted_at,
extract(epoch FROM updated_at)::text AS updated_at,
extract(epoch FROM due_at AT TIME ZONE 'UTC')::text AS due_at,
runner::text AS runner,
attempts::text AS attempts
