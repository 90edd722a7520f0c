state @> $7::text::jsonb
