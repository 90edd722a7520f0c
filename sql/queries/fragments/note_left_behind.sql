-- Citus makes new tables and views, and leaves behind the comments, in one of which HephaestusEcto keeps its
-- version, and what was granted on views.
WITH RECURSIVE relations (relation) AS (
    SELECT oid
    FROM pg_class
    WHERE oid IN (
        to_regclass('/* schema */workflow_instances'),
        to_regclass('/* schema */workflow_runners'),
        to_regclass('/* schema */hephaestus_pg_migrations')
    )

    UNION
    SELECT ev_class
    FROM relations
    JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = relation
    JOIN pg_rewrite ON classid = 'pg_rewrite'::regclass AND pg_rewrite.oid = objid
),

statements (statement) AS (
    SELECT
        CASE
            WHEN attname IS NOT NULL
                THEN format('COMMENT ON COLUMN %s.%I IS %L', relation::regclass, attname, description)
            WHEN relkind = 'm'
                THEN format('COMMENT ON MATERIALIZED VIEW %s IS %L', relation::regclass, description)
            WHEN relkind = 'v'
                THEN format('COMMENT ON VIEW %s IS %L', relation::regclass, description)
            ELSE format('COMMENT ON TABLE %s IS %L', relation::regclass, description)
        END
    FROM relations
    JOIN pg_class ON pg_class.oid = relation
    JOIN pg_description ON classoid = 'pg_class'::regclass AND objoid = relation
    LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid AND objsubid > 0

    UNION ALL
    SELECT format('COMMENT ON INDEX %s IS %L', indexrelid::regclass, description)
    FROM relations
    JOIN pg_index ON indrelid = relation
    JOIN pg_description ON classoid = 'pg_class'::regclass AND objoid = indexrelid

    UNION ALL
    SELECT format(
        'GRANT %s%s ON TABLE %s TO %s%s',
        privilege_type,
        of_columns,
        relation::regclass,
        CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
        CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
    )
    FROM relations
    JOIN pg_class ON pg_class.oid = relation
    CROSS JOIN LATERAL (
        SELECT '' AS of_columns, relacl AS acl
        UNION ALL
        SELECT format(' (%I)', attname), attacl FROM pg_attribute WHERE attrelid = relation
    ) AS granted
    CROSS JOIN LATERAL aclexplode(acl)
    WHERE relkind IN ('v', 'm') AND grantee <> relowner
)

SELECT set_config(
    'hephaestus_pg.left_behind',
    coalesce(json_agg(statement), '[]')::text,
    true
)
FROM statements;
