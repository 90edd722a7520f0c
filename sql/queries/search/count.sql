SELECT count(*)::text AS count
FROM (
    /* include: matching */
) AS matching
