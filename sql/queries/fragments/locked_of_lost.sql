SELECT id AS locked_id
FROM /* schema */workflow_instances
WHERE runner = ANY (ARRAY(SELECT lost.token FROM lost))
FOR NO KEY UPDATE SKIP LOCKED
