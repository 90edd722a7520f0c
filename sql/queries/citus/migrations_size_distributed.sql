-- The table's bytes on all nodes, without its indexes.
SELECT citus_table_size(to_regclass('/* schema */workflow_instances'))
