-- $1 to $13 as in fragments/matching.sql. An empty value is that of rows without one.
SELECT coalesce(matching./* include: counted */::text, '') AS value, count(*)::text AS count
FROM (
    /* include: matching */
) AS matching
GROUP BY matching./* include: counted */
ORDER BY matching./* include: counted */
