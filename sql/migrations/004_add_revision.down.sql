-- Loses no data of an instance, only the counters: after another up they begin at 1 again, so no
-- process may hold an instance across the two and update it by its old revision.
DROP INDEX IF EXISTS /* schema */workflow_instances_workflow_family_index;

DROP INDEX IF EXISTS /* schema */workflow_instances_inserted_at_id_index;

ALTER TABLE IF EXISTS /* schema */workflow_instances DROP COLUMN IF EXISTS revision;
