due_at < $14::text::timestamptz
