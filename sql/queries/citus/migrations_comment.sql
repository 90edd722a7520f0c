-- Writes the statement that gives the table its comment again, which Citus loses. It is HephaestusEcto's.
SELECT format(
    'COMMENT ON TABLE %s IS %L',
    '/* schema */workflow_instances',
    obj_description(to_regclass('/* schema */workflow_instances'), 'pg_class')
)
