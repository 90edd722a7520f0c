-- What only the row knows of an instance that was written.
id::text AS id,
workflow_version::oid AS workflow_version,
revision::text AS revision,
extract(epoch FROM inserted_at)::text AS inserted_at,
extract(epoch FROM updated_at)::text AS updated_at,
runner::text AS runner
