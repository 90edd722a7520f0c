-- Of all shards; the table itself is empty there.
citus_relation_size('/* schema */workflow_instances')
