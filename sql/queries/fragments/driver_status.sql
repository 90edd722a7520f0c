status = $2::text
