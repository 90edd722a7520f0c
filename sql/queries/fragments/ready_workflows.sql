-- The workflows that have something ready: the first, and each time the next one. Then NULL. They are in the
-- order of the index of what is ready, lest that of workflows be read, through all that is over.
(
    SELECT held.workflow
    FROM /* schema */workflow_instances AS held
    WHERE /* include: is_ready */
    ORDER BY held.workflow, held.inserted_at
    LIMIT 1
)
UNION ALL
SELECT (
    SELECT held.workflow
    FROM /* schema */workflow_instances AS held
    WHERE held.workflow > ready.workflow AND /* include: is_ready */
    ORDER BY held.workflow, held.inserted_at
    LIMIT 1
)
FROM ready
WHERE ready.workflow IS NOT NULL
