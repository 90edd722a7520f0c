-- An operator's: nobody owns $1 any more, and its failed attempts are forgotten.
UPDATE /* schema */workflow_instances
SET
    runner = NULL,
    attempts = 0,
    due_at = CASE
        WHEN attempts > 0 AND status IN ('pending', 'running') THEN NULL
        WHEN attempts > 0 THEN least(due_at, clock.now AT TIME ZONE 'UTC')
        ELSE due_at
    END,
    revision = revision + 1
FROM /* include: clock */
WHERE id = $1::text AND (runner IS NOT NULL OR attempts > 0)
RETURNING id::text AS id
