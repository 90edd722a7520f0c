-- What HephaestusEcto's V02 leaves. A constant default is kept in the catalog: no row is rewritten.
ALTER TABLE /* schema */workflow_instances
    ADD COLUMN IF NOT EXISTS workflow_version integer NOT NULL DEFAULT 1;

CREATE INDEX IF NOT EXISTS workflow_instances_workflow_workflow_version_index
    ON /* schema */workflow_instances (workflow, workflow_version);
