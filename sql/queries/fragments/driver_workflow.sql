workflow = $4::text
