-- As page_by_inserted_at.sql, from the end.
SELECT
    /* include: row */
FROM /* schema */workflow_instances AS held
WHERE /* include: matching */
    AND (inserted_at, id) < (coalesce($15::text::timestamp, 'infinity'), coalesce($16::text, ''))
ORDER BY held.inserted_at DESC, held.id DESC
LIMIT $17::text::bigint
