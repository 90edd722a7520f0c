-- As delete.sql, for arrays of one length. Locks in the order in which put_many locks; joined as in
-- update_many.sql.
WITH to_delete AS (
    SELECT held.id, given.revision::bigint AS revision
    FROM unnest($1::text[], $2::text[]) AS given (id, revision)
    JOIN /* schema */workflow_instances AS held ON held.id = given.id
    WHERE
        /* include: lock_timeout */
        /* include: held_in_one_shard */
    ORDER BY held.id COLLATE "C"
    FOR UPDATE OF held
), gone AS (
    DELETE FROM /* schema */workflow_instances AS held
    USING to_delete
    WHERE
        held.id = to_delete.id
        AND (to_delete.revision IS NULL OR held.revision = to_delete.revision)
        /* include: held_in_one_shard */
    RETURNING held.id, held.revision
)
SELECT id::text AS id, revision::text AS revision, 'true' AS deleted
FROM gone
UNION ALL
SELECT id::text, revision::text, 'false'
FROM /* schema */workflow_instances
WHERE
    (SELECT count(*) FROM gone) < cardinality($1::text[])
    AND id = ANY ($1::text[])
    AND id NOT IN (SELECT gone.id FROM gone)
