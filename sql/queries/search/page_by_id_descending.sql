-- As page_by_id.sql, from the end.
SELECT
    /* include: row */
FROM (
    /* include: matching */
) AS matching
WHERE
    matching.id <= coalesce($14::text, (SELECT max(id) FROM /* schema */workflow_instances))
    AND ($14::text IS NULL OR matching.id <> $14::text)
ORDER BY matching.id DESC
LIMIT $15::text::bigint
