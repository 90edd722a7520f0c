-- By the index over initial contexts, whose rows are then compared whole. $7 contained state.
hephaestus_pg_initial @> ($7::text::jsonb #> '{context,initial}') AND state @> $7::text::jsonb
