-- Citus skips no locked rows of several shards: the update waits for them.
SELECT id AS locked_id
FROM /* schema */workflow_instances
WHERE runner = ANY (ARRAY(SELECT lost.token FROM lost))
