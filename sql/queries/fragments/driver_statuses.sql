-- Also as a range: of an array that it does not know the planner thinks that it is everything.
status = ANY ($3::text[])
AND status BETWEEN ($3::text[])[1] AND ($3::text[])[cardinality($3::text[])]
