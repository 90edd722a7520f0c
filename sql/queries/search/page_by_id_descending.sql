-- As page_by_id.sql, from the end. What stands first is not behind the place, which is itself out.
SELECT
    /* include: row */
FROM /* schema */workflow_instances AS held
WHERE /* include: matching */
    AND id <= coalesce($15::text, (SELECT max(id) FROM /* schema */workflow_instances))
    AND ($15::text IS NULL OR id <> $15::text)
ORDER BY held.id DESC
LIMIT $16::text::bigint
