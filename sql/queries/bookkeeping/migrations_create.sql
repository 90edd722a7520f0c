-- CREATE SCHEMA IF NOT EXISTS needs the right to create schemas even if the schema exists.
DO $$
DECLARE
    name text := btrim('/* schema */', '".');
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = name) THEN
        EXECUTE 'CREATE SCHEMA ' || quote_ident(name);
    END IF;
END
$$;

CREATE TABLE IF NOT EXISTS /* schema */hephaestus_pg_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
