-- Gives back after a failed attempt: $1 id, $2 the runner's token, $3 seconds to wait after the first
-- failed attempt, the second and so on, separated by commas. After the last it is never due.
UPDATE /* schema */workflow_instances
SET
    runner = NULL,
    attempts = attempts + 1,
    due_at = /* include: due_after_failure */,
    revision = revision + 1
FROM
    (SELECT $3::text AS delays) AS given,
    /* include: clock */
WHERE id = $1::text AND runner = $2::text::uuid
RETURNING id::text AS id
