-- The schemas beside public that tests have migrated, but for names that we do not take.
SELECT pg_namespace.nspname::text AS schema
FROM pg_class AS instances
JOIN pg_class AS runners ON runners.relnamespace = instances.relnamespace
JOIN pg_namespace ON pg_namespace.oid = instances.relnamespace
WHERE
    instances.relname = 'workflow_instances'
    AND instances.relkind IN ('r', 'p')
    AND runners.relname = 'workflow_runners'
    AND runners.relkind IN ('r', 'p')
    AND pg_namespace.nspname <> 'public'
    AND pg_namespace.nspname ~ '^[a-z_][a-z0-9_]*$'
ORDER BY pg_namespace.nspname
