id = $1::text
