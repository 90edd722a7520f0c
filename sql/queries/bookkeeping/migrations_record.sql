-- $1 version, $2 name, $3 checksum of its up. Scripts put them in as literals.
INSERT INTO /* schema */hephaestus_pg_migrations (version, name, checksum)
VALUES ($1::integer, $2::text, $3::text)
ON CONFLICT (version) DO NOTHING;
