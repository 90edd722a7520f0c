from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from hephaestus_pg import AsyncStorage, Names, migrations
from hephaestus_pg.testing import clock
from tests.support.databases import new_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="module")
def moved_dsn(pytestconfig: pytest.Config) -> Iterator[str]:
    """A database whose clock is installed, with a migrated schema ``public``."""

    async def install(dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(migrations.sql("up", schema="public"))
        await clock.install(connection)
        await connection.close()

    with new_database(pytestconfig) as dsn:
        asyncio.run(install(dsn))
        yield dsn


@pytest.fixture
async def moved(moved_dsn: str) -> AsyncIterator[AsyncStorage]:
    """A storage whose clock can be moved, with nothing in it."""
    async with start_moved(moved_dsn) as storage:
        async with storage.transaction() as transaction:
            await transaction.connection.execute(
                "TRUNCATE public.workflow_instances, public.workflow_runners"
            )
        await clock.Clock(storage).reset()
        yield storage


def start_moved(dsn: str, **options: Any) -> Any:
    return AsyncStorage.start(
        dsn, **{"name": f"moved_{uuid4().hex[:8]}", "references": Names(), **options}
    )
