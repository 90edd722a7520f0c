-- Whether a finished row makes way is said for each id.
($6::text[])[array_position($1::text[], EXCLUDED.id::text)]::boolean
