-- $15 and $16 the moment and id that ended the page before, $17 the limit; each may be NULL.
SELECT
    /* include: row */
FROM /* schema */workflow_instances AS held
WHERE /* include: matching */
    AND ($15::text IS NULL OR (updated_at, id) > ($15::text::timestamp, $16::text))
ORDER BY held.updated_at, held.id
LIMIT $17::text::bigint
