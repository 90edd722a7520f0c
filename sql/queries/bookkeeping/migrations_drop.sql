-- An empty version table says nothing, and would hide what HephaestusEcto says.
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM /* schema */hephaestus_pg_migrations) THEN
        DROP TABLE /* schema */hephaestus_pg_migrations;
    END IF;
EXCEPTION
    WHEN undefined_table OR invalid_schema_name THEN NULL;
END
$$;
