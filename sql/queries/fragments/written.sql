-- The columns that a write sets itself, for the instance that it returns.
id::text AS id,
workflow_version::oid AS workflow_version,
revision::text AS revision,
extract(epoch FROM inserted_at)::text AS inserted_at,
extract(epoch FROM updated_at)::text AS updated_at,
runner::text AS runner,
-- One look a statement; while nobody listens the table is empty.
(
    SELECT 'true' FROM /* schema */workflow_runners
    WHERE expires_at > statement_timestamp()
    LIMIT 1
) AS listened
