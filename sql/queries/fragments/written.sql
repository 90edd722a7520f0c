-- The columns that a write sets itself, for the instance that it returns.
id::text AS id,
workflow_version::oid AS workflow_version,
revision::text AS revision,
extract(epoch FROM inserted_at)::text AS inserted_at,
extract(epoch FROM updated_at)::text AS updated_at,
runner::text AS runner
/* include: listened */
