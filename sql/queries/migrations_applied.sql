SELECT version, name, checksum, applied_at
FROM /* schema */hephaestus_pg_migrations
ORDER BY version
