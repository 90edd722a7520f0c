-- As fail.sql, for arrays of one length.
UPDATE /* schema */workflow_instances
SET
    runner = NULL,
    attempts = CASE WHEN /* include: is_work */ THEN attempts + 1 ELSE attempts END,
    due_at = CASE WHEN /* include: is_work */ THEN /* include: due_after_failure */ ELSE due_at END,
    revision = revision + 1
FROM
    unnest($1::text[], $2::text[], $3::text[]) AS given (given_id, token, delays),
    /* include: clock */
WHERE
    /* include: lock_timeout */
    AND id = given_id
    AND id = ANY ($1::text[])
    AND runner = given.token::uuid
RETURNING id::text AS id
