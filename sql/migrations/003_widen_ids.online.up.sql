-- Contract: the swap changes the catalog only. The column is renamed before it becomes the primary
-- key, so that the constraints get the same names as from a plain ALTER.
LOCK TABLE /* schema */workflow_instances IN ACCESS EXCLUSIVE MODE;

DROP TRIGGER hephaestus_pg_wide_id ON /* schema */workflow_instances;

DROP FUNCTION /* schema */hephaestus_pg_wide_id();

ALTER TABLE /* schema */workflow_instances DROP COLUMN id;

ALTER TABLE /* schema */workflow_instances RENAME COLUMN hephaestus_pg_wide_id TO id;

ALTER TABLE /* schema */workflow_instances ALTER COLUMN id SET NOT NULL;

ALTER TABLE /* schema */workflow_instances
    DROP CONSTRAINT hephaestus_pg_wide_id_filled,
    ADD CONSTRAINT workflow_instances_pkey PRIMARY KEY USING INDEX hephaestus_pg_wide_id_key;
