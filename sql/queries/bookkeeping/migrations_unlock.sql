SELECT pg_advisory_unlock(hashtextextended('/* schema */hephaestus_pg_migrations', 0))
