-- The clock that tests move: functions that are found before the server's own, for sessions that begin
-- from now on. clock_timestamp() is not among them: a backend's start, which fencing compares it
-- with, is of the machine's clock, and so is the default of the column revision.
--
-- pg_catalog is named behind them, else it would be searched before all. They stand behind the path
-- that there was: what is made without a schema goes into the first that there is.
SELECT pg_advisory_xact_lock(hashtext('hephaestus_clock'));

CREATE SCHEMA IF NOT EXISTS hephaestus_clock;

CREATE TABLE IF NOT EXISTS hephaestus_clock.clock (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    ahead interval NOT NULL
);

INSERT INTO hephaestus_clock.clock (ahead) VALUES ('0')
ON CONFLICT (is_only) DO UPDATE SET ahead = EXCLUDED.ahead;

CREATE OR REPLACE FUNCTION hephaestus_clock.statement_timestamp() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS 'SELECT pg_catalog.statement_timestamp() + (SELECT ahead FROM hephaestus_clock.clock)';

CREATE OR REPLACE FUNCTION hephaestus_clock.transaction_timestamp() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS 'SELECT pg_catalog.transaction_timestamp() + (SELECT ahead FROM hephaestus_clock.clock)';

CREATE OR REPLACE FUNCTION hephaestus_clock.now() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS 'SELECT pg_catalog.now() + (SELECT ahead FROM hephaestus_clock.clock)';

GRANT USAGE ON SCHEMA hephaestus_clock TO PUBLIC;
GRANT SELECT, UPDATE ON hephaestus_clock.clock TO PUBLIC;

-- Of the session's path what it began with, whatever has been set since.
DO $$
DECLARE
    path text := (
        SELECT string_agg(given.name, ', ' ORDER BY given.place)
        FROM pg_settings
        CROSS JOIN LATERAL regexp_split_to_table(reset_val, '\s*,\s*')
            WITH ORDINALITY AS given (name, place)
        WHERE pg_settings.name = 'search_path'
            AND given.name NOT IN ('', 'hephaestus_clock', 'pg_catalog')
    );
BEGIN
    EXECUTE format(
        'ALTER ROLE %I IN DATABASE %I SET search_path = %s',
        session_user, current_database(), concat_ws(', ', path, 'hephaestus_clock', 'pg_catalog')
    );
END
$$;
