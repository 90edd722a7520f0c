-- The table's bytes, without its indexes; 0 without a table.
SELECT coalesce(pg_table_size(to_regclass('/* schema */workflow_instances')), 0)
