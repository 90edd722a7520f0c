-- Citus makes a new table and leaves the comment behind, in which HephaestusEcto keeps its version.
SELECT set_config(
    'hephaestus_pg.comment',
    coalesce(obj_description('/* schema */workflow_instances'::regclass, 'pg_class'), ''),
    true
);
