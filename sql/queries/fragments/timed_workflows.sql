-- The workflows that have a timer, as ready_workflows.
(
    SELECT held.workflow
    FROM /* schema */workflow_instances AS held
    WHERE held.due_at IS NOT NULL AND /* include: is_timed */
    ORDER BY held.workflow, held.due_at
    LIMIT 1
)
UNION ALL
SELECT (
    SELECT held.workflow
    FROM /* schema */workflow_instances AS held
    WHERE held.workflow > timed.workflow AND held.due_at IS NOT NULL AND /* include: is_timed */
    ORDER BY held.workflow, held.due_at
    LIMIT 1
)
FROM timed
WHERE timed.workflow IS NOT NULL
