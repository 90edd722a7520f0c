-- $1 id, $2 the revision that it must have, or NULL.
DELETE FROM /* schema */workflow_instances
WHERE id = $1::text AND ($2::bigint IS NULL OR revision = $2::bigint)
RETURNING revision
