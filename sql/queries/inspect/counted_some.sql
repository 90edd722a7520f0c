-- The rows of each status by workflow, if they are fewer than $1; else one line with that number and no
-- workflow.
WITH /* include: instances_of_statuses */
SELECT counted.status AS status, ''::text AS workflow, counted.instances::text AS instances
FROM counted
WHERE counted.instances >= $1::text::bigint
UNION ALL
SELECT counted.status, found.workflow::text, count(*)::text
FROM counted
CROSS JOIN LATERAL (
    SELECT held.workflow
    FROM /* schema */workflow_instances AS held
    WHERE
        counted.instances < $1::text::bigint
        AND held.status >= counted.status
        AND held.status <= counted.status
    ORDER BY held.status
    LIMIT $1::text::bigint
) AS found
GROUP BY counted.status, found.workflow
