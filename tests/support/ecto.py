"""HephaestusEcto's own migrations, for tests of databases that it made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg

# As HephaestusEcto's migrations write it, by version.
ORIGINAL = {
    1: """
        CREATE TABLE workflow_instances (
            id uuid, workflow varchar(255) NOT NULL,
            status varchar(255) NOT NULL DEFAULT 'pending', state jsonb NOT NULL DEFAULT '{}',
            inserted_at timestamp(0) NOT NULL, updated_at timestamp(0) NOT NULL, PRIMARY KEY (id)
        );
        CREATE INDEX workflow_instances_status_index ON workflow_instances (status);
        CREATE INDEX workflow_instances_workflow_index ON workflow_instances (workflow);
        CREATE INDEX idx_workflow_instances_state ON workflow_instances
            USING gin (state jsonb_path_ops);
        INSERT INTO workflow_instances VALUES
            ('0191e0a4-5b0c-7d3e-8f00-000000000001', 'Elixir.Order', 'waiting',
            '{"current_step": "Elixir.Pay"}', '2024-02-29 12:00:00', '2024-03-01 00:00:00');
        """,
    2: """
        ALTER TABLE workflow_instances ADD COLUMN workflow_version integer NOT NULL DEFAULT 1;
        CREATE INDEX workflow_instances_workflow_workflow_version_index
            ON workflow_instances (workflow, workflow_version);
        UPDATE workflow_instances SET workflow_version = 2;
        """,
    3: """
        ALTER TABLE workflow_instances ALTER COLUMN id TYPE varchar(255) USING id::text;
        INSERT INTO workflow_instances VALUES
            ('order::1', 'Elixir.Order', 'running', '{}', '2024-02-29', '2024-03-01', 3);
        """,
}

# As HephaestusEcto's migrations write the way down, from that version.
ORIGINAL_DOWN = {
    3: "ALTER TABLE workflow_instances ALTER COLUMN id TYPE uuid USING id::uuid",
    2: """
        DROP INDEX IF EXISTS workflow_instances_workflow_workflow_version_index;
        ALTER TABLE workflow_instances DROP COLUMN IF EXISTS workflow_version;
        """,
    1: "DROP TABLE IF EXISTS workflow_instances",
}


async def original(link: asyncpg.Connection[Any], version: int, comment: str | None) -> None:
    for each in range(1, version + 1):
        await link.execute(ORIGINAL[each])
    if comment is not None:
        await link.execute(f"COMMENT ON TABLE workflow_instances IS '{comment}'")
