-- $1 id, $2 the runner's token, whose row names the workflows that it runs.
UPDATE /* schema */workflow_instances
SET
    runner = $2::text::uuid,
    due_at = /* include: due_once_claimed */,
    revision = revision + 1
WHERE
    id = $1::text
    AND workflow = ANY (ARRAY(
        SELECT unnest(workflows)
        FROM /* schema */workflow_runners
        WHERE token = $2::text::uuid AND expires_at > statement_timestamp()
    ))
    AND /* include: can_be_claimed */
RETURNING
    /* include: row */
