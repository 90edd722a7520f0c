-- $1 id, $2 the revision that it must have, or NULL. A row that stays, whatever keeps it, is shown as
-- it was when the statement began.
WITH gone AS (
    DELETE FROM /* schema */workflow_instances
    WHERE id = $1::text AND ($2::text IS NULL OR revision = $2::text::bigint)
    RETURNING id, revision
)
SELECT id::text AS id, revision::text AS revision, 'true' AS deleted
FROM gone
UNION ALL
SELECT id::text, revision::text, 'false'
FROM /* schema */workflow_instances
WHERE id = $1::text AND NOT EXISTS (SELECT 1 FROM gone)
