-- Makes the table known to Citus, in the place where it is.
SELECT citus_add_local_table_to_metadata('/* schema */workflow_instances')
