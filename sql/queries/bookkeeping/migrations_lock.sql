-- Tried again and again, never waited for: a session that waits for a lock holds a snapshot, and
-- CREATE INDEX CONCURRENTLY waits for every older snapshot. That is a deadlock.
SELECT pg_try_advisory_lock(hashtextextended('/* schema */hephaestus_pg_migrations', 0))
