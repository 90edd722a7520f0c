-- The number of rows of each status, up to $1. Where a status has many, the planner would read the table for
-- it: so the first $1 are those from the status on, in the order of the index, which leaves it no other way.
counted AS MATERIALIZED (
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
