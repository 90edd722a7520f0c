-- What the engine looks at before it begins, for scripts.
DO $$
BEGIN
    IF current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION 'the database has the encoding %, which cannot hold every text',
            current_setting('server_encoding')
            USING HINT = 'CREATE DATABASE name ENCODING ''UTF8'' TEMPLATE template0';
    END IF;
END
$$;
