-- $1 to $11 as in fragments/matching.sql.
SELECT count(*)::text AS count
FROM (
    /* include: matching */
) AS matching
