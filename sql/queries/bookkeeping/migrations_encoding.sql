-- Scripts check here what the engine checks in Python.
DO $$
BEGIN
    IF current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION USING
            MESSAGE = 'the database has the encoding ' || current_setting('server_encoding')
                || ', which cannot hold every text',
            HINT = 'CREATE DATABASE name ENCODING ''UTF8'' TEMPLATE template0';
    END IF;
END
$$;
