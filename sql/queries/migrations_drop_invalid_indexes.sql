-- A concurrent build that was interrupted leaves an invalid index, which IF NOT EXISTS would accept.
-- The including file names the indexes that it is about to build: another one may be invalid only
-- because somebody is building it at this moment.
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
