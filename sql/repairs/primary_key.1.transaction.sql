-- Drops an invalid index that an interrupted run, or an id that stands twice, left.
SET LOCAL hephaestus_pg.indexes = 'workflow_instances_pkey';

/* include: drop_invalid_indexes */
