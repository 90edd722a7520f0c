"""Each thing that has the verbs keeps the promises of the conformance suite.

One event loop, one schema and one storage of each kind serve all tests here, as each looks only at
rows of its own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from hephaestus_pg import AsyncStorage, Names, migrations, registry
from hephaestus_pg.testing import Faults, conformance
from hephaestus_pg.testing.conformance import Own
from tests.support import citus
from tests.system.test_pgbouncer import PROGRAM, SESSIONS, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from hephaestus_pg import Instance, Storage
    from tests.support.databases import Owner

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.once]


@pytest.fixture(scope="module")
def migrated(owner: Owner) -> Iterator[str]:
    name = f"schema_{uuid4().hex[:12]}"
    owner.execute(f"CREATE SCHEMA {name}")
    owner.execute(migrations.sql("up", schema=name))
    citus.distribute(owner, name)
    yield name
    citus.drop(owner, name)


@pytest.fixture
def nothing_left() -> None:
    """Not after each test, but after all of them; see :func:`left_behind`."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def left_behind() -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert registry.names() == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def batched(dsn: str, migrated: str, left_behind: None) -> AsyncIterator[AsyncStorage]:
    async with AsyncStorage.start(
        dsn, name="batched", schema=migrated, references=Names()
    ) as storage:
        yield storage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_by_one(batched: AsyncStorage, migrated: str) -> AsyncIterator[AsyncStorage]:
    async with AsyncStorage.start(
        share=batched, name="one by one", schema=migrated, references=Names(), batching=False
    ) as storage:
        yield storage


@pytest.fixture(scope="module")
def bouncer(dsn: str) -> Iterator[str]:
    with running(dsn) as bouncer:
        yield bouncer.dsn


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def through_pgbouncer(
    bouncer: str, migrated: str, left_behind: None
) -> AsyncIterator[AsyncStorage]:
    async with AsyncStorage.start(
        bouncer,
        name="through PgBouncer",
        schema=migrated,
        references=Names(),
        pgbouncer=True,
        max_size=4 * SESSIONS,
    ) as storage:
        yield storage


@pytest_asyncio.fixture(loop_scope="module")
async def transaction(batched: AsyncStorage) -> AsyncIterator[Storage]:
    with pytest.raises(ZeroDivisionError):
        async with batched.transaction() as transaction:
            yield transaction
            1 / 0  # noqa: B018 - it is rolled back


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on_a_connection(batched: AsyncStorage, dsn: str) -> AsyncIterator[Storage]:
    connection = await asyncpg.connect(dsn)
    yield batched.using(connection)
    await connection.close()


class TestBatched(conformance.All):
    @pytest.fixture
    def storage(self, batched: AsyncStorage) -> AsyncStorage:
        return batched

    @pytest.fixture
    def another(self, one_by_one: AsyncStorage) -> AsyncStorage:
        return one_by_one

    @pytest.fixture
    def faults(self, storage: AsyncStorage) -> Iterator[Faults]:
        with Faults(storage) as faults:
            yield faults


class TestOneByOne(conformance.All):
    @pytest.fixture
    def storage(self, one_by_one: AsyncStorage) -> AsyncStorage:
        return one_by_one

    @pytest.fixture
    def faults(self, storage: AsyncStorage) -> Iterator[Faults]:
        with Faults(storage) as faults:
            yield faults


class OnOneConnection(conformance.Values, conformance.Single, conformance.Bulk, conformance.Search):
    pass


class TestTransaction(OnOneConnection):
    @pytest.fixture
    def storage(self, transaction: Storage) -> Storage:
        return transaction


class TestUsing(OnOneConnection):
    @pytest.fixture
    def storage(self, on_a_connection: Storage) -> Storage:
        return on_a_connection


@pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed: apt-get install pgbouncer")
class TestThroughPgBouncer(
    conformance.Values,
    conformance.Single,
    conformance.Bulk,
    conformance.Search,
    conformance.Concurrency,
    conformance.Scheduling,
    conformance.Claims,
):
    @pytest.fixture
    def storage(self, through_pgbouncer: AsyncStorage) -> AsyncStorage:
        return through_pgbouncer

    @pytest.fixture
    def faults(self, storage: AsyncStorage) -> Iterator[Faults]:
        with Faults(storage) as faults:
            yield faults


class NeverWaits:
    """What a double in memory has of two verbs: no step of it gives anybody else a turn."""

    def __init__(self) -> None:
        self.rows: dict[str, Instance] = {}

    async def put_many(self, instances: Iterable[Instance]) -> list[Instance]:
        self.rows |= {each.id: each for each in instances}
        return list(self.rows.values())

    async def get_many(self, ids: Iterable[str]) -> dict[str, Instance]:
        return {id: self.rows[id] for id in ids}


async def test_a_double_that_never_waits_shows_no_half() -> None:
    double: Any = NeverWaits()

    await conformance.Concurrency().test_nobody_sees_half_of_a_put_many(double, double, Own())
