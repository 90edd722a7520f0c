-- Waits for whoever writes, and lets nobody begin to: what is emptied then stays empty until the end of
-- this transaction. Who only reads is not waited for.
LOCK TABLE /* schema */workflow_instances, /* schema */workflow_runners IN SHARE ROW EXCLUSIVE MODE
