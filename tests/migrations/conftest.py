from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest

from hephaestus_pg import migrations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.migrated import Link


@pytest.fixture
async def link(request: pytest.FixtureRequest) -> AsyncIterator[Link]:
    """A connection to the database of the test: one of its own if it has one, or the shared one."""
    own = "database" in request.fixturenames
    dsn = request.getfixturevalue("database" if own else "dsn")
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    yield connection
    await connection.close()


@pytest.fixture
async def whole(database: str) -> str:
    """The DSN of a database for this test alone, with all migrations in its public schema."""
    await migrations.up(database)
    return database


@pytest.fixture
async def hidden(link: Link, migrated: str) -> AsyncIterator[Link]:
    """A connection as an owner of ``migrated`` to whom a policy, forced on owners, shows no row."""
    role = f"role_{uuid4().hex}"
    tables = ("workflow_instances", "workflow_runners", "hephaestus_pg_migrations")
    await link.execute(f"""
        INSERT INTO {migrated}.workflow_instances
            (id, workflow, workflow_version, due_at, inserted_at, updated_at)
        VALUES ('order::1', 'Order', 2, now(), now(), now());
        CREATE POLICY hiding ON {migrated}.workflow_instances USING (workflow = 'Bill');
        ALTER TABLE {migrated}.workflow_instances
            ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE ROLE {role};
        GRANT ALL ON SCHEMA {migrated} TO {role};
    """)
    for table in tables:
        await link.execute(f"ALTER TABLE {migrated}.{table} OWNER TO {role}")
    await link.execute(f"SET ROLE {role}")
    yield link
    await link.execute(f"RESET ROLE; REASSIGN OWNED BY {role} TO CURRENT_USER")
    await link.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
