-- A batch of several callers waits for no lock for long: one of them is to blame, and by itself it
-- may wait until its deadline. The setting is local to this statement's transaction.
(SELECT set_config('lock_timeout', '500ms', true)) IS NOT NULL
