-- $1 to $14 as in fragments/matching.sql. An empty value is that of rows without one.
SELECT coalesce(/* include: counted */::text, '') AS value, count(*)::text AS count
FROM /* schema */workflow_instances
WHERE /* include: matching */
GROUP BY /* include: counted */
ORDER BY /* include: counted */
