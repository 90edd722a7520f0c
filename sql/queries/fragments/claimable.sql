-- The inner limits are numbers, so that even a plan that is made for any parameters reads an index
-- from its beginning; the outer ones stop that early.
SELECT oldest.id
FROM (
    SELECT candidate.id
    FROM unnest($2::text[]) AS given (workflow)
    CROSS JOIN LATERAL (
        (
            SELECT ready.id, ready.inserted_at AT TIME ZONE 'UTC' AS due
            FROM (
                SELECT held.id, held.inserted_at
                FROM /* schema */workflow_instances AS held
                WHERE held.workflow = given.workflow
                    AND held.runner IS NULL
                    AND held.due_at IS NULL
                    AND (held.status = 'pending' OR held.status = 'running')
                ORDER BY held.inserted_at
                LIMIT 500
            ) AS ready
            LIMIT $4::text::bigint
        )
        UNION ALL
        (
            SELECT timed.id, timed.due_at
            FROM (
                SELECT held.id, held.due_at
                FROM /* schema */workflow_instances AS held
                WHERE held.workflow = given.workflow
                    AND held.runner IS NULL
                    AND held.due_at <= statement_timestamp()
                    AND held.status = ANY ('{pending,running,waiting}'::text[])
                ORDER BY held.due_at
                LIMIT 500
            ) AS timed
            LIMIT $4::text::bigint
        )
    ) AS candidate
    ORDER BY candidate.due, candidate.id
    LIMIT $4::text::bigint
) AS oldest
ORDER BY random()
LIMIT $3::text::bigint
