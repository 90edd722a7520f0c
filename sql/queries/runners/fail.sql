-- Gives back after a failed attempt: $1 id, $2 the runner's token, $3 seconds to wait after the first
-- failed attempt, the second and so on, separated by commas. After the last it is never due. What has
-- been parked or ended by a writer who leaves the runner, such as HephaestusEcto, stays as it is.
UPDATE /* schema */workflow_instances
SET
    runner = NULL,
    attempts = CASE WHEN /* include: is_work */ THEN attempts + 1 ELSE attempts END,
    due_at = CASE WHEN /* include: is_work */ THEN /* include: due_after_failure */ ELSE due_at END,
    revision = revision + 1
FROM
    (SELECT $3::text AS delays) AS given,
    /* include: clock */
WHERE id = $1::text AND runner = $2::text::uuid
RETURNING id::text AS id
