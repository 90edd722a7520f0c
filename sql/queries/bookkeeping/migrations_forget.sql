-- $1 version.
DELETE FROM /* schema */hephaestus_pg_migrations WHERE version = $1::integer;
