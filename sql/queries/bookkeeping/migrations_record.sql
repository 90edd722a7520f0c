INSERT INTO /* schema */hephaestus_pg_migrations (version, name, checksum)
VALUES ($1::integer, $2::text, $3::text)
ON CONFLICT (version) DO NOTHING;
