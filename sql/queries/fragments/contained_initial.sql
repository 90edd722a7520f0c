-- By the index over initial contexts, whose rows are then compared whole.
hephaestus_pg_initial @> ($8::text::jsonb #> '{context,initial}') AND state @> $8::text::jsonb
