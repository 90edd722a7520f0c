-- When the next instance of the workflows $3 is due: the first of each, from the index.
SELECT min(timed.due_at) AS due_at
FROM unnest($3::text[]) AS given (workflow)
CROSS JOIN LATERAL (
    SELECT held.due_at
    FROM /* schema */workflow_instances AS held
    WHERE held.workflow = given.workflow
        AND /* include: is_timed */
        AND held.due_at > statement_timestamp()
        AND held.due_at < 'infinity'
    ORDER BY held.due_at
    LIMIT 1
) AS timed
