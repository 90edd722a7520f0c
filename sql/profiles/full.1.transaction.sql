-- Drops an invalid index that an interrupted run left.
SET LOCAL hephaestus_pg.indexes = 'idx_workflow_instances_state';

/* include: drop_invalid_indexes */
