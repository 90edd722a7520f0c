-- The index over states; while it is exchanged, the one that serves more.
-- The column tells whether the table would have to be rewritten for an index over initial contexts.
SELECT
    CASE
        WHEN 'idx_workflow_instances_state' = ANY (valid) THEN 'full'
        WHEN 'hephaestus_pg_initial_index' = ANY (valid) THEN 'initial'
        ELSE 'none'
    END::text AS profile,
    EXISTS (
        SELECT 1 FROM pg_attribute
        WHERE attrelid = instances AND attname = 'hephaestus_pg_initial' AND NOT attisdropped
    )::integer::oid AS has_column
FROM to_regclass('/* schema */workflow_instances') AS instances
CROSS JOIN LATERAL (
    SELECT array_agg(relname::text) AS valid
    FROM pg_index
    JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = instances AND indisvalid
) AS indexes
