-- What has a name in the schema that migrations are about to give: $1 the names of their indexes, by commas.
-- CREATE IF NOT EXISTS would take it for theirs, as it would the indexes of a table that was renamed.
WITH taken (name, what) AS (
    SELECT
        relname::text,
        coalesce(
            'an index of ' || indrelid::regclass,
            pg_describe_object('pg_class'::regclass, oid, 0)
        )
    FROM pg_class
    LEFT JOIN pg_index ON indexrelid = oid
    WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = btrim('/* schema */', '".'))
        AND CASE relname
            WHEN 'workflow_runners' THEN 5 > (
                SELECT count(*) FROM pg_attribute
                WHERE attrelid = pg_class.oid
                    AND attname IN ('token', 'name', 'workflows', 'started_at', 'expires_at')
            )
            ELSE relname = ANY (string_to_array($1::text, ','))
                AND indrelid IS DISTINCT FROM to_regclass('/* schema */workflow_instances')
        END

    UNION ALL
    SELECT typname, pg_describe_object('pg_type'::regclass, oid, 0)
    FROM pg_type
    WHERE typnamespace = (SELECT oid FROM pg_namespace WHERE nspname = btrim('/* schema */', '".'))
        AND typrelid = 0
        AND typname IN ('workflow_instances', 'workflow_runners', 'hephaestus_pg_migrations')
)

SELECT string_agg(name, ', ' ORDER BY name) AS names, what
FROM taken
GROUP BY what
ORDER BY 1
