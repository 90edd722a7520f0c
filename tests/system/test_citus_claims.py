"""Runners on the tables of a Citus cluster, however it keeps them.

``HEPHAESTUS_PG_TEST_CITUS_DSN`` leads to its coordinator, to a database that has the extension and
the workers.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest

from hephaestus_pg import AsyncStorage, ClaimLostError, Instance, Names, Status, migrations
from tests.runners.conftest import Table, next_claim, order
from tests.support.citus import drop_schema
from tests.support.lag import happens, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from uuid import UUID

    from hephaestus_pg import Claim, Runner
    from tests.support.faults import FaultsOf

    Start = Callable[[], Awaitable[AsyncStorage]]

DSN = os.environ.get("HEPHAESTUS_PG_TEST_CITUS_DSN", "")
pytestmark = pytest.mark.skipif(not DSN, reason="HEPHAESTUS_PG_TEST_CITUS_DSN names no cluster")

# Without it the driver looks at every type for most of a second on each new connection.
SETTINGS = {"citus.override_table_visibility": "off"}

SHARDS = 4
BY_ID = f"SELECT create_distributed_table('{{}}.workflow_instances', 'id', shard_count => {SHARDS})"
KINDS = {
    "one server's": [],
    "a distributed schema's": ["SELECT citus_schema_distribute('{}')"],
    "in shards, runners local": [
        BY_ID,
        "SELECT citus_add_local_table_to_metadata('{}.workflow_runners')",
    ],
    "in shards, runners everywhere": [
        BY_ID,
        "SELECT create_reference_table('{}.workflow_runners')",
    ],
}
"""How Citus may keep the tables, and what makes that of them."""

HOUR = timedelta(hours=1)


class Tables(Table):
    """The tables of a kind, as somebody who looks into them by hand changes them."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], schema: str) -> None:
        super().__init__(connection, schema)
        self.connection = connection
        self.schema = schema

    async def make(self, kind: str) -> None:
        await self.connection.execute(f"CREATE SCHEMA {self.schema}")
        await self.connection.execute(migrations.sql("up", schema=self.schema))
        if KINDS[kind]:
            await self.connection.execute(
                f"DROP TRIGGER hephaestus_pg_raise_revision ON {self.schema}.workflow_instances"
            )
        for statement in KINDS[kind]:
            await self.connection.execute(statement.format(self.schema))

    async def forget(self, token: UUID) -> None:
        await self.connection.execute(
            f"DELETE FROM {self.schema}.workflow_runners WHERE token = $1", token
        )


@pytest.fixture(params=KINDS)
async def tables(request: pytest.FixtureRequest) -> AsyncIterator[Tables]:
    connection = await asyncpg.connect(DSN, server_settings=SETTINGS)
    tables = Tables(connection, f"schema_{uuid4().hex[:12]}")
    try:
        await tables.make(request.param)
        yield tables
    finally:
        await drop_schema(connection, tables.schema)
        await connection.close()


@pytest.fixture
async def start_here(tables: Tables) -> AsyncIterator[Start]:
    """Starts storages on these tables, and closes them."""
    async with AsyncExitStack() as stack:

        async def start() -> AsyncStorage:
            return await stack.enter_async_context(
                AsyncStorage.start(
                    DSN,
                    name=uuid4().hex,
                    schema=tables.schema,
                    references=Names(),
                    server_settings=SETTINGS,
                )
            )

        yield start


@pytest.fixture
async def here(start_here: Start) -> AsyncStorage:
    return await start_here()


async def test_each_instance_is_claimed_once_and_finished(start_here: Start) -> None:
    storages = [await start_here() for _ in range(3)]
    ids = [f"x::{number:03}" for number in range(150)]
    await storages[0].put_many([order(id) for id in ids])
    claimed: Counter[str] = Counter()

    async def work(storage: AsyncStorage, runner: Runner) -> None:
        async for claim in runner.claims():
            async with claim as held:
                claimed[claim.id] += 1
                assert held.runner == runner.token
                running = await storage.update(replace(held, status=Status.RUNNING))
                await storage.update(replace(running, status=Status.COMPLETED))

    async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
        for storage in storages:
            runner = await stack.enter_async_context(storage.runner(workflows=["Order"]))
            for _ in range(8):
                group.create_task(work(storage, runner))
        await happens(lambda: len(claimed) == len(ids))
        while await storages[0].count(status=Status.COMPLETED) < len(ids):
            await asyncio.sleep(0.05)
    assert set(claimed.values()) == {1}
    assert await storages[0].count(runner=None, status=Status.COMPLETED) == len(ids)


async def test_all_who_wait_are_one_statement(
    here: AsyncStorage, faults_of: FaultsOf, asking: None
) -> None:
    faults = faults_of(here)
    async with here.runner(workflows=["Order"]) as runner:
        tasks = [asyncio.create_task(next_claim(runner)) for _ in range(100)]
        await happens(lambda: 0 in faults.rows)
        await here.put_many([order(f"x::{number}") for number in range(100)])
        assert len({claim.id for claim in await asyncio.gather(*tasks)}) == 100
        # On one server two; here who is told may look while some of the shards have no row yet.
        assert 2 <= faults.tried.count("claim") <= 1 + SHARDS


async def test_the_oldest_due_comes_first_and_what_is_not_due_not(here: AsyncStorage) -> None:
    now = datetime.now(UTC)
    await here.put_many(
        [
            order("now"),
            order("due", due_at=now - 3 * HOUR),
            order("timer", Status.WAITING, due_at=now - 2 * HOUR),
            order("to come", due_at=now + HOUR),
            order("for news", Status.WAITING),
            order("done", Status.COMPLETED, due_at=now - HOUR),
            Instance("another's", "Refund"),
        ]
    )
    async with here.runner(workflows=["Order", "Nothing"]) as runner:
        assert [(await next_claim(runner)).id for _ in range(3)] == ["due", "timer", "now"]
        assert await here.count(runner=None) == 4
        assert await here.count(due_before=now) == 3


async def test_a_timer_is_claimed_when_it_is_due(here: AsyncStorage) -> None:
    async with here.runner(workflows=["Order"]) as runner:
        task = asyncio.create_task(next_claim(runner))
        due_at = datetime.now(UTC) + timedelta(seconds=1)
        await here.insert(order("x", Status.WAITING, due_at=due_at))
        assert (await task).id == "x"
        assert datetime.now(UTC) >= due_at


async def test_what_is_claimed_by_its_id_is_given_back(here: AsyncStorage) -> None:
    await here.put_many([order(f"x::{number}") for number in range(10)])
    await here.put(Instance("another's", "Refund"))
    ids = [f"x::{number}" for number in range(10)]
    async with here.runner(workflows=["Order"]) as runner:
        assert await runner.claim("another's") is None
        claims = await asyncio.gather(*map(runner.claim, ids))
        assert await here.count(runner=runner.token) == 10

        async def use(claim: Claim | None) -> None:
            assert claim is not None
            async with claim:
                pass

        await asyncio.gather(*map(use, claims))
        assert await here.count(runner=None) == 11


async def test_failures_wait_and_at_last_end_until_a_release(here: AsyncStorage) -> None:
    ids = [f"x::{number}" for number in range(5)]
    delays = {1: 0.2}
    async with here.runner(
        workflows=["Order"], max_attempts=2, retry_after=delays.__getitem__
    ) as runner:

        async def fail(claim: Claim) -> None:
            with pytest.raises(ZeroDivisionError):
                async with claim:
                    raise ZeroDivisionError

        first = await asyncio.gather(*(runner.insert(order(id)) for id in ids))
        await asyncio.gather(*map(fail, first))
        for held in await here.query(status=Status.PENDING):
            assert held.due_at is not None
        again = [await next_claim(runner) for _ in ids]
        assert sorted(claim.id for claim in again) == ids
        await asyncio.gather(*map(fail, again))
        assert await asyncio.gather(*map(runner.claim, ids)) == [None] * 5
        assert await asyncio.gather(*map(here.release, ids)) == [True] * 5
        assert await here.release("x::0") is False
        assert sorted([(await next_claim(runner)).id for _ in ids]) == ids


@pytest.mark.parametrize("has_row", (True, False))
async def test_what_the_dead_own_is_taken_over(
    start_here: Start, tables: Tables, *, has_row: bool
) -> None:
    theirs, ours = await start_here(), await start_here()
    dead = await theirs.runner(workflows=["Order"])
    claim = await dead.insert(order("x"))
    async with ours.runner(workflows=["Order"], retry_after=lambda _: 0.0) as runner:
        with pytest.raises(ClaimLostError):
            async with claim as held:
                await (tables.expire if has_row else tables.forget)(dead.token)
                taken = await next_claim(runner)
                assert taken.token > claim.token
                async with taken as again:
                    assert again.runner == runner.token
                    await theirs.update(held)
        assert [each.token for each in await ours.runners()] == [runner.token]
        assert [each.runner for each in await ours.query()] == [None]


async def test_a_stop_gives_all_back_at_once(here: AsyncStorage) -> None:
    await here.put_many([order(f"x::{number}") for number in range(10)])
    runner = await here.runner(workflows=["Order"], name="worker")
    for _ in range(10):
        await next_claim(runner)
    assert [(each.name, each.owned) for each in await here.runners()] == [("worker", 10)]
    async with within(5):
        await runner.stop()
    assert await here.count(runner=None) == 10
    assert await here.runners() == []


async def test_a_heartbeat_outlives_the_lease(here: AsyncStorage) -> None:
    async with here.runner(workflows=["Order"], lease=1.0) as runner:
        [first] = await here.runners()
        async with await runner.insert(order("x")), asyncio.timeout(20):
            expires_at = first.expires_at
            while expires_at < first.expires_at + timedelta(seconds=2):
                await asyncio.sleep(0.1)
                [latest] = await here.runners()
                expires_at = latest.expires_at
            assert await here.count(runner=runner.token) == 1
