-- The rows of each status by workflow, if they are fewer than $1; else one line with that number and no
-- workflow. Where a status has many, the planner would read the table for it: so the first $1 are those
-- from the status on, in the order of the index, which leaves it no other way.
WITH counted AS MATERIALIZED (
    SELECT given.status, limited.instances
    FROM unnest('{pending,running,waiting,completed,failed}'::text[]) AS given (status)
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE following.status = given.status) AS instances
        FROM (
            SELECT held.status
            FROM /* schema */workflow_instances AS held
            WHERE held.status >= given.status
            ORDER BY held.status
            LIMIT $1::text::bigint
        ) AS following
    ) AS limited
)
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
