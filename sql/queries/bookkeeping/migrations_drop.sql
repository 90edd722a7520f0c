-- An empty version table would hide the version in HephaestusEcto's comment.
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM /* schema */hephaestus_pg_migrations) THEN
        DROP TABLE /* schema */hephaestus_pg_migrations;
    END IF;
EXCEPTION
    WHEN undefined_table OR invalid_schema_name THEN NULL;
END
$$;
