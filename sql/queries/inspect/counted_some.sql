-- Of each status $1 rows at the most, counted by workflow. The order of a range makes the planner read
-- the index, where it would read the table for as many rows as an average status has.
SELECT given.status AS status, found.workflow::text AS workflow, count(*)::text AS instances
FROM unnest('{pending,running,waiting,completed,failed}'::text[]) AS given (status)
CROSS JOIN LATERAL (
    SELECT held.workflow
    FROM /* schema */workflow_instances AS held
    WHERE held.status >= given.status AND held.status <= given.status
    ORDER BY held.status
    LIMIT $1::text::bigint
) AS found
GROUP BY given.status, found.workflow
