-- As claim_one.sql, for arrays of one length.
UPDATE /* schema */workflow_instances
SET runner = given_token::uuid, revision = revision + 1
FROM unnest($1::text[], $2::text[], $3::text[]) AS given (given_id, given_token, workflows)
WHERE
    /* include: lock_timeout */
    AND id = given_id
    AND id = ANY ($1::text[])
    AND given_token::uuid IN (
        SELECT token FROM /* schema */workflow_runners WHERE expires_at > statement_timestamp()
    )
    AND workflow = ANY (given.workflows::text[])
    AND /* include: can_be_claimed */
RETURNING
    /* include: row */
