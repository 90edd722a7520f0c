-- The engine's own lock, for scripts. They build no index concurrently, so they may wait for it.
DO $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('/* schema */hephaestus_pg_migrations', 0));
END
$$;
