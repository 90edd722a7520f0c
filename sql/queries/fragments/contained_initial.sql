hephaestus_pg_initial @> ($7::text::jsonb #> '{context,initial}') AND state @> $7::text::jsonb
