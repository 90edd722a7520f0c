DO $$
BEGIN
    IF current_setting('hephaestus_pg.comment') <> '' THEN
        EXECUTE 'COMMENT ON TABLE /* schema */workflow_instances IS '
            || quote_literal(current_setting('hephaestus_pg.comment'));
    END IF;
END
$$;
