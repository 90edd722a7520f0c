-- The recorded versions, in their order.
SELECT version::oid AS version, name, checksum, applied_at
FROM /* schema */hephaestus_pg_migrations
ORDER BY hephaestus_pg_migrations.version
