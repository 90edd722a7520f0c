SELECT count(*) AS count
FROM (
    /* include: matching */
) AS matching
