-- $1 the name of an index: true if it is there and valid.
SELECT EXISTS (
    SELECT 1 FROM pg_index WHERE indexrelid = to_regclass('/* schema */' || $1::text) AND indisvalid
)
