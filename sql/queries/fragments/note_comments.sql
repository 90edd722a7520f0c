-- Citus makes new tables and leaves the comments behind; in one HephaestusEcto keeps its version.
SELECT set_config(
    'hephaestus_pg.comments',
    coalesce(
        json_agg(
            CASE
                WHEN attname IS NULL
                    THEN format('COMMENT ON TABLE %s IS %L', objoid::regclass, description)
                ELSE format('COMMENT ON COLUMN %s.%I IS %L', objoid::regclass, attname, description)
            END
        ),
        '[]'
    )::text,
    true
)
FROM pg_description
LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid AND objsubid > 0
WHERE classoid = 'pg_class'::regclass
    AND objoid IN (
        to_regclass('/* schema */workflow_instances'),
        to_regclass('/* schema */workflow_runners'),
        to_regclass('/* schema */hephaestus_pg_migrations')
    );
