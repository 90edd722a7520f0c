ALTER TABLE /* schema */workflow_instances
    ADD CONSTRAINT workflow_instances_pkey PRIMARY KEY USING INDEX workflow_instances_pkey;
