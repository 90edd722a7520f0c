DROP TABLE IF EXISTS /* schema */hephaestus_pg_migrations;
