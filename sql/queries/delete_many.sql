-- As delete.sql, for arrays of one length. Locks in the order in which put_many locks.
WITH doomed AS (
    SELECT held.id
    FROM /* schema */workflow_instances AS held
    WHERE
        held.id = ANY ($1::text[])
        AND /* include: patience */
    ORDER BY held.id COLLATE "C"
    FOR UPDATE
)
DELETE FROM /* schema */workflow_instances AS held
USING doomed
JOIN unnest($1::text[], $2::bigint[]) AS given (id, revision) ON given.id = doomed.id
WHERE held.id = doomed.id AND (given.revision IS NULL OR held.revision = given.revision)
RETURNING held.id
