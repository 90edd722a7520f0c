-- The lock is tried and never waited for: a session that waits holds a snapshot, and the holder's
-- CREATE INDEX CONCURRENTLY waits for every older snapshot, which would be a deadlock.
SELECT pg_try_advisory_lock(hashtextextended('/* schema */hephaestus_pg_migrations', 0))
