"""Each thing that has the verbs keeps the promises of the conformance suite."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from hephaestus_pg import migrations
from hephaestus_pg.testing import Faults, conformance
from tests.system.test_pgbouncer import PROGRAM, SESSIONS, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import asyncpg

    from hephaestus_pg import AsyncStorage, Storage
    from tests.support.databases import Owner
    from tests.support.starting import Start


@pytest.fixture(scope="module")
def migrated(owner: Owner) -> Iterator[str]:
    """A schema with the table for all tests here: each looks only at rows of its own."""
    name = f"schema_{uuid4().hex[:12]}"
    owner.execute(f"CREATE SCHEMA {name}")
    owner.execute(migrations.sql("up", schema=name))
    yield name
    owner.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(scope="module")
def bouncer(dsn: str) -> Iterator[str]:
    with running(dsn) as bouncer:
        yield bouncer.dsn


class Pooled:
    """What the storages on a pool have beside their own options."""

    @pytest.fixture
    async def another(self, start: Start) -> AsyncStorage:
        return await start()

    @pytest.fixture
    def faults(self, storage: AsyncStorage) -> Iterator[Faults]:
        with Faults(storage) as faults:
            yield faults


class TestBatched(Pooled, conformance.All):
    @pytest.fixture
    async def storage(self, start: Start) -> AsyncStorage:
        return await start()


class TestOneByOne(Pooled, conformance.All):
    @pytest.fixture
    async def storage(self, start: Start) -> AsyncStorage:
        return await start(batching=False)


class OnOneConnection(conformance.Values, conformance.Single, conformance.Bulk, conformance.Search):
    pass


class TestTransaction(OnOneConnection):
    @pytest.fixture
    async def storage(self, start: Start) -> AsyncIterator[Storage]:
        async with await start() as pooled:
            with pytest.raises(ZeroDivisionError):
                async with pooled.transaction() as transaction:
                    yield transaction
                    1 / 0  # noqa: B018 - it is rolled back


class TestUsing(OnOneConnection):
    @pytest.fixture
    async def storage(
        self, start: Start, pool: asyncpg.Pool[asyncpg.Record]
    ) -> AsyncIterator[Storage]:
        async with await start() as pooled, pool.acquire() as connection:
            yield pooled.using(connection)


@pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed: apt-get install pgbouncer")
class TestThroughPgBouncer(
    conformance.Values,
    conformance.Single,
    conformance.Bulk,
    conformance.Search,
    conformance.Concurrency,
    conformance.Claims,
):
    @pytest.fixture
    async def storage(self, start: Start, bouncer: str) -> AsyncStorage:
        return await start(bouncer, pgbouncer=True, max_size=4 * SESSIONS)

    @pytest.fixture
    async def another(self, start: Start, bouncer: str) -> AsyncStorage:
        return await start(bouncer, pgbouncer=True, max_size=4 * SESSIONS)
