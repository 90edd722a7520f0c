-- Gives back what migrations_lock.sql took.
SELECT pg_advisory_unlock(hashtextextended('/* schema */hephaestus_pg_migrations', 0))
