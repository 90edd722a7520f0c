-- What is gathered from several callers waits for no lock for long: one of them is to blame, and by
-- itself it may wait until its deadline. For this transaction, which is this statement, alone.
(SELECT set_config('lock_timeout', '500ms', true)) IS NOT NULL
