-- $1 to $14 as in fragments/matching.sql. Without an order.
SELECT
    /* include: row */
FROM /* schema */workflow_instances
WHERE /* include: matching */
