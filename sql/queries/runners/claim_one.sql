-- $1 id, $2 the runner's token, $3 its workflows as the text of an array.
UPDATE /* schema */workflow_instances
SET runner = $2::text::uuid, revision = revision + 1
WHERE
    id = $1::text
    AND $2::text::uuid IN (
        SELECT token FROM /* schema */workflow_runners WHERE expires_at > statement_timestamp()
    )
    AND workflow = ANY ($3::text::text[])
    AND /* include: can_be_claimed */
RETURNING
    /* include: row */
