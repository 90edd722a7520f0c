-- The columns that the indexes are about; the .up file finds them there.
ALTER TABLE /* schema */workflow_instances
    ADD COLUMN IF NOT EXISTS runner uuid,
    ADD COLUMN IF NOT EXISTS due_at timestamptz,
    ADD COLUMN IF NOT EXISTS attempts integer NOT NULL DEFAULT 0;

-- Begins without what an interrupted run left.
SET LOCAL hephaestus_pg.indexes =
    'workflow_instances_ready_index, '
    'workflow_instances_due_index, '
    'workflow_instances_due_at_index, '
    'workflow_instances_runner_index';

/* include: drop_invalid_indexes */
