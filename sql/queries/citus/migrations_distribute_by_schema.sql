-- $1 the schema.
SELECT citus_schema_distribute($1::text::regnamespace)
