-- As page_by_updated_at.sql, from the end.
SELECT
    /* include: row */
FROM /* schema */workflow_instances AS held
WHERE /* include: matching */
    AND ($15::text IS NULL OR (updated_at, id) < ($15::text::timestamp, $16::text))
ORDER BY held.updated_at DESC, held.id DESC
LIMIT $17::text::bigint
