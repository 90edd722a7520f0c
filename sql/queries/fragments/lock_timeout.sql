-- Waits for locks as long as the session lets it; lock_timeout_batched.sql is the variant for
-- batches.
true
