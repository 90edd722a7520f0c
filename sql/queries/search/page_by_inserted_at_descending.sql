-- As page_by_inserted_at.sql, from the end. An id with an infinite moment, which another writer may have set,
-- is not behind the first place either: it stands before the last character, in ICU's order unless it begins
-- with U+FFFD.
SELECT
    /* include: row */
FROM /* schema */workflow_instances AS held
WHERE /* include: matching */
    AND (inserted_at, id) < (coalesce($15::text::timestamp, 'infinity'), coalesce($16::text, chr(1114111)))
ORDER BY held.inserted_at DESC, held.id DESC
LIMIT $17::text::bigint
