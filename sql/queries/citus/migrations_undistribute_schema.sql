-- $1 the schema.
SELECT citus_schema_undistribute($1::text::regnamespace)
