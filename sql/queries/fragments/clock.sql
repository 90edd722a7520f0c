-- The moment of the statement, in UTC. A column, since Citus refuses the function in CASE and
-- coalesce; without a time zone, since it adds nothing to a moment with one.
(SELECT statement_timestamp() AT TIME ZONE 'UTC' AS now) AS clock
