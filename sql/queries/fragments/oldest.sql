-- Of each workflow the $4 oldest that are ready, and the $4 oldest that were due at a moment. The inner
-- limits are numbers, so that even a plan that is made for any parameters reads an index from its
-- beginning; the outer ones stop that early.
SELECT of_workflow.id, of_workflow.due
FROM unnest($2::text[]) AS given (workflow)
CROSS JOIN LATERAL (
    (
        SELECT ready.id, ready.inserted_at AT TIME ZONE 'UTC' AS due
        FROM (
            SELECT held.id, held.inserted_at
            FROM /* schema */workflow_instances AS held
            WHERE held.workflow = given.workflow AND /* include: is_ready */
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
                AND /* include: is_timed */
                AND held.due_at <= statement_timestamp()
            ORDER BY held.due_at
            LIMIT 500
        ) AS timed
        LIMIT $4::text::bigint
    )
) AS of_workflow
