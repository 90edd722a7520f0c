-- Gives back after a failed attempt: $1 id, $2 the runner's token, $3 seconds to wait after the first
-- failed attempt, the second and so on, as the text of an array. After the last it is never due.
UPDATE /* schema */workflow_instances
SET
    runner = NULL,
    attempts = attempts + 1,
    due_at = greatest(due_at, coalesce(
        statement_timestamp()
        + make_interval(secs => ($3::text::text[])[attempts + 1]::double precision),
        'infinity'
    )),
    revision = revision + 1
WHERE id = $1::text AND runner = $2::text::uuid
RETURNING id::text AS id
