-- $1 to $14 as in fragments/matching.sql.
SELECT count(*)::text AS count
FROM /* schema */workflow_instances
WHERE /* include: matching */
