-- Of those that were found, the $2 that have been stuck for longest.
oldest AS (
    SELECT found.id, found.reason, found.since
    FROM found
    WHERE found.since < (SELECT bound FROM bound)
    ORDER BY found.since, found.id
    LIMIT $2::text::bigint
)
SELECT
    /* include: row */,
    reason AS reason,
    extract(epoch FROM since AT TIME ZONE 'UTC')::text AS since
FROM oldest
JOIN /* schema */workflow_instances AS held USING (id)
ORDER BY oldest.since, id
