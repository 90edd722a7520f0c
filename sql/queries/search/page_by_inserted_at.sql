-- $15 and $16 the moment and id that ended the page before, $17 the limit; each may be NULL.
-- For coalesce see page_by_id.sql.
SELECT
    /* include: row */
FROM /* schema */workflow_instances AS held
WHERE /* include: matching */
    AND (inserted_at, id) > (coalesce($15::text::timestamp, '-infinity'), coalesce($16::text, ''))
ORDER BY held.inserted_at, held.id
LIMIT $17::text::bigint
