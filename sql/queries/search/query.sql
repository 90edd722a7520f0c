SELECT
    /* include: row */
FROM (
    /* include: matching */
) AS matching
