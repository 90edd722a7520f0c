-- As delete_many.sql, where the table lies in several shards. Citus does not lock rows of several, so that
-- two of these may deadlock; the loser is tried again.
WITH gone AS (
    DELETE FROM /* schema */workflow_instances AS held
    USING unnest($1::text[], $2::text[]) AS given (id, revision)
    WHERE
        held.id = given.id
        AND held.id = ANY ($1::text[])
        AND (given.revision IS NULL OR held.revision = given.revision::bigint)
    RETURNING held.id, held.revision
)
SELECT id::text AS id, revision::text AS revision, 'true' AS deleted
FROM gone
UNION ALL
SELECT id::text, revision::text, 'false'
FROM /* schema */workflow_instances
WHERE
    id = ANY ($1::text[])
    AND id NOT IN (SELECT gone.id FROM gone)
