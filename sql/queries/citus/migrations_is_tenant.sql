-- $1 a schema: true if it is distributed as such.
SELECT EXISTS (
    SELECT 1 FROM pg_dist_schema WHERE schemaid = $1::text::regnamespace
)
