-- An operator's: nobody owns $1 any more, and its failed attempts are forgotten.
UPDATE /* schema */workflow_instances
SET
    runner = NULL,
    attempts = 0,
    due_at = CASE WHEN attempts > 0 THEN least(due_at, statement_timestamp()) ELSE due_at END,
    revision = revision + 1
WHERE id = $1::text AND (runner IS NOT NULL OR attempts > 0)
RETURNING id::text AS id
