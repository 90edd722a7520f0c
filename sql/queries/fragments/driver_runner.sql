runner = $13::text::uuid
