-- The schemas with a table of instances, but for names that we do not take.
SELECT
    pg_namespace.nspname::text AS schema,
    (
        has_schema_privilege(pg_namespace.oid, 'USAGE')
        AND has_table_privilege(pg_class.oid, 'SELECT')
    )::text AS may_read
FROM pg_class
JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
WHERE
    pg_class.relname = 'workflow_instances'
    AND pg_class.relkind IN ('r', 'p', 'v')
    AND pg_namespace.nspname ~ '^[a-z_][a-z0-9_]*$'
ORDER BY pg_namespace.nspname
