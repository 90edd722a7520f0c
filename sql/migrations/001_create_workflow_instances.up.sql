-- What HephaestusEcto's V01 leaves. Ids begin as uuid, as there; 003 widens them.
CREATE TABLE IF NOT EXISTS /* schema */workflow_instances (
    id uuid PRIMARY KEY,
    workflow varchar(255) NOT NULL,
    status varchar(255) NOT NULL DEFAULT 'pending',
    state jsonb NOT NULL DEFAULT '{}',
    inserted_at timestamp(0) NOT NULL,
    updated_at timestamp(0) NOT NULL
);

CREATE INDEX IF NOT EXISTS workflow_instances_status_index
    ON /* schema */workflow_instances (status);

CREATE INDEX IF NOT EXISTS workflow_instances_workflow_index
    ON /* schema */workflow_instances (workflow);

CREATE INDEX IF NOT EXISTS idx_workflow_instances_state
    ON /* schema */workflow_instances USING gin (state jsonb_path_ops);
