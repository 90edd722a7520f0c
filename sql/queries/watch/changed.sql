-- The rows of the ids $1 that are at another revision than $2, which is NULL where none was seen.
SELECT
    /* include: row */
FROM /* schema */workflow_instances
JOIN unnest($1::text[], $2::text[]) AS given (given_id, seen) ON id = given_id
WHERE id = ANY ($1::text[]) AND (seen IS NULL OR revision <> seen::bigint)
