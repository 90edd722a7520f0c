ALTER TABLE /* schema */workflow_instances VALIDATE CONSTRAINT hephaestus_pg_wide_id_filled
