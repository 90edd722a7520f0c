-- Since when the oldest claimable instance of each workflow waits, from the two indexes of what can be
-- claimed: each workflow's first entry, then the next workflow's.
WITH RECURSIVE ready AS (
    (
        SELECT held.workflow, held.inserted_at
        FROM /* schema */workflow_instances AS held
        WHERE /* include: is_ready */
        ORDER BY held.workflow, held.inserted_at
        LIMIT 1
    )
    UNION ALL
    SELECT following.workflow, following.inserted_at
    FROM ready
    CROSS JOIN LATERAL (
        SELECT held.workflow, held.inserted_at
        FROM /* schema */workflow_instances AS held
        WHERE held.workflow > ready.workflow AND /* include: is_ready */
        ORDER BY held.workflow, held.inserted_at
        LIMIT 1
    ) AS following
), timed AS (
    (
        SELECT held.workflow, held.due_at
        FROM /* schema */workflow_instances AS held
        WHERE held.due_at IS NOT NULL AND /* include: is_timed */
        ORDER BY held.workflow, held.due_at
        LIMIT 1
    )
    UNION ALL
    SELECT following.workflow, following.due_at
    FROM timed
    CROSS JOIN LATERAL (
        SELECT held.workflow, held.due_at
        FROM /* schema */workflow_instances AS held
        WHERE held.workflow > timed.workflow AND held.due_at IS NOT NULL AND /* include: is_timed */
        ORDER BY held.workflow, held.due_at
        LIMIT 1
    ) AS following
)
SELECT
    oldest.workflow::text AS workflow,
    extract(epoch FROM min(oldest.since))::text AS since,
    extract(epoch FROM statement_timestamp())::text AS now
FROM (
    SELECT ready.workflow, ready.inserted_at AT TIME ZONE 'UTC' AS since FROM ready
    UNION ALL
    SELECT timed.workflow, timed.due_at FROM timed WHERE timed.due_at <= statement_timestamp()
) AS oldest
GROUP BY oldest.workflow
ORDER BY min(oldest.since), oldest.workflow
