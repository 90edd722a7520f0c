-- Drops an invalid index that an interrupted run left.
SET LOCAL hephaestus_pg.indexes =
    'workflow_instances_workflow_family_index, '
    'workflow_instances_inserted_at_id_index';

/* include: drop_invalid_indexes */
