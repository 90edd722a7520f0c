-- $1 id, $2 the runner's token. The revision fences what the scope has left behind.
UPDATE /* schema */workflow_instances
SET runner = NULL, revision = revision + 1
WHERE id = $1::text AND runner = $2::text::uuid
RETURNING id::text AS id
