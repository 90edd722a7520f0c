-- A whole row, each value a text or an oid, whose codecs nobody changes. Citus lets RETURNING take
-- the epoch of a moment without a time zone only.
id::text AS id,
workflow::text AS workflow,
status::text AS status,
workflow_version::oid AS workflow_version,
state::text AS state,
revision::text AS revision,
extract(epoch FROM inserted_at)::text AS inserted_at,
extract(epoch FROM updated_at)::text AS updated_at,
extract(epoch FROM due_at AT TIME ZONE 'UTC')::text AS due_at,
runner::text AS runner
