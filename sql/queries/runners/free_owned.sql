-- The runner $1 gives back what it owns, but for what somebody has locked: that keeps nobody from the
-- rest. Before end_runner.sql, which waits for it.
WITH locked AS (
    SELECT id AS locked_id
    FROM /* schema */workflow_instances
    WHERE runner = $1::text::uuid
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE /* schema */workflow_instances
SET runner = NULL, revision = revision + 1
FROM locked
WHERE id = locked_id AND runner = $1::text::uuid
RETURNING id::text AS id
