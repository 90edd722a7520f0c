-- As claim_one.sql, for arrays of one length.
UPDATE /* schema */workflow_instances
SET
    runner = living.token,
    due_at = /* include: due_once_claimed */,
    revision = revision + 1
FROM
    unnest($1::text[], $2::text[]) AS given (given_id, given_token),
    /* schema */workflow_runners AS living
WHERE
    /* include: lock_timeout */
    AND id = given_id
    AND id = ANY ($1::text[])
    AND living.token = given_token::uuid
    AND living.expires_at > statement_timestamp()
    AND workflow = ANY (living.workflows)
    AND /* include: can_be_claimed */
RETURNING
    /* include: row */
