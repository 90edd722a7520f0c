-- $3 at random of the $4 oldest.
SELECT drawn.id
FROM (
    SELECT candidate.id
    FROM (
        /* include: oldest */
    ) AS candidate
    ORDER BY candidate.due, candidate.id
    LIMIT $4::text::bigint
) AS drawn
ORDER BY random()
LIMIT $3::text::bigint
