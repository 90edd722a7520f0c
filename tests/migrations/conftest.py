from __future__ import annotations

from typing import TYPE_CHECKING

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
