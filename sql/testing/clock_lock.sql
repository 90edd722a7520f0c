-- Waits for heartbeats that are under way, and holds up others: one that has begun would count its
-- lease from the moment before.
LOCK TABLE /* schema */workflow_runners IN EXCLUSIVE MODE
