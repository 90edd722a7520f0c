DELETE FROM /* schema */workflow_instances
WHERE id = $1::text
RETURNING revision
