SELECT coalesce(pg_table_size(to_regclass('/* schema */workflow_instances')), 0)
