-- As give_back.sql, for arrays of one length.
UPDATE /* schema */workflow_instances
SET runner = NULL, revision = revision + 1
FROM unnest($1::text[], $2::text[]) AS given (given_id, token)
WHERE
    /* include: lock_timeout */
    AND id = given_id
    AND id = ANY ($1::text[])
    AND runner = given.token::uuid
RETURNING id::text AS id
