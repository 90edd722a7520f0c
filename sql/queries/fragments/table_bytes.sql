pg_relation_size('/* schema */workflow_instances')
