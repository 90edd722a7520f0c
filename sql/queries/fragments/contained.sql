-- By the index over whole states. $7 contained state.
state @> $7::text::jsonb
