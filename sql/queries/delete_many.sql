-- As delete.sql, for arrays of one length. Locks in the order in which put_many locks; joined as in
-- update_many.sql.
WITH doomed AS (
    SELECT held.id, given.revision
    FROM unnest($1::text[], $2::bigint[]) AS given (id, revision)
    JOIN /* schema */workflow_instances AS held ON held.id = given.id
    WHERE
        /* include: patience */
    ORDER BY held.id COLLATE "C"
    FOR UPDATE OF held
)
DELETE FROM /* schema */workflow_instances AS held
USING doomed
WHERE held.id = doomed.id AND (doomed.revision IS NULL OR held.revision = doomed.revision)
RETURNING held.id
