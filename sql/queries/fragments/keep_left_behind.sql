DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT json_array_elements_text(current_setting('hephaestus_pg.left_behind')::json)
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
