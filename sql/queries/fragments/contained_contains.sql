-- By the index over whole states.
state @> $8::text::jsonb
