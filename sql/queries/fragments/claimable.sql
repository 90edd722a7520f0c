-- The $4 oldest.
SELECT candidate.id, candidate.due
FROM (
    /* include: oldest */
) AS candidate
ORDER BY candidate.due, candidate.id
LIMIT $4::text::bigint
