-- An interrupted concurrent build leaves an invalid index, which IF NOT EXISTS would accept. The
-- including file names the indexes that are about to be built, since any other invalid index may
-- be one that somebody is building at this moment.
DO $$
DECLARE
    invalid regclass;
BEGIN
    FOR invalid IN
        SELECT indexrelid
        FROM pg_index
        WHERE NOT indisvalid AND indexrelid IN (
            SELECT to_regclass('/* schema */' || name)
            FROM regexp_split_to_table(current_setting('hephaestus_pg.indexes'), ', ') AS name
        )
    LOOP
        EXECUTE 'DROP INDEX ' || invalid;
    END LOOP;
END
$$;
