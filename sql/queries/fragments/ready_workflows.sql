-- The workflows that have something ready, from its index: the first, and each time the next one. Then NULL.
(
    SELECT held.workflow
    FROM /* schema */workflow_instances AS held
    WHERE /* include: is_ready */
    ORDER BY held.workflow
    LIMIT 1
)
UNION ALL
SELECT (
    SELECT held.workflow
    FROM /* schema */workflow_instances AS held
    WHERE held.workflow > ready.workflow AND /* include: is_ready */
    ORDER BY held.workflow
    LIMIT 1
)
FROM ready
WHERE ready.workflow IS NOT NULL
