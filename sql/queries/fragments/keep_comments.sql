DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT json_array_elements_text(current_setting('hephaestus_pg.comments')::json)
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
