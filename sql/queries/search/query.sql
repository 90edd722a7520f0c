-- $1 to $11 as in fragments/matching.sql. Without an order.
SELECT
    /* include: row */
FROM (
    /* include: matching */
) AS matching
