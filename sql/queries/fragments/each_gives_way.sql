-- As gives_way.sql, for each id.
($6::text[])[array_position($1::text[], EXCLUDED.id::text)]::boolean
