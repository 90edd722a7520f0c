"""Storages that share a pool, a schema for each: whose it is, and that no tenant costs another."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import Counter
from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from hephaestus_pg import (
    AlreadyStartedError,
    AsyncStorage,
    ConnectionLostError,
    Context,
    Instance,
    InvalidValueError,
    Names,
    SchemaOutdatedError,
    Status,
    StorageClosedError,
    WrongEventLoopError,
    migrations,
)
from hephaestus_pg.batching.batcher import NUM_WORKERS
from tests.batching.test_keyed import all_at_once, become, role, tenant
from tests.support import citus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.databases import Owner
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.once

__all__ = ["role"]  # a fixture

NUMBER = 4

LONE, MANY = 50, 60
"""Tenants with one caller each, and the callers of another."""

CALLS = 2_000

RESTING = 40

BYTES_AT_REST = 20_000
"""What a storage may take that is started and does nothing, with the text of a statement."""


@pytest.fixture
def schemas(owner: Owner, migrated: str) -> Iterator[list[str]]:
    """Names of migrated schemas; the first is that of the fixture ``storage``."""
    others = [f"tenant_{uuid4().hex[:12]}" for _ in range(1, NUMBER)]
    for schema in others:
        owner.execute(migrations.sql("up", schema=schema))
    yield [migrated, *others]
    for schema in others:
        citus.drop(owner, schema)


@pytest.fixture
async def tenants(storage: AsyncStorage, start: Start, schemas: list[str]) -> list[AsyncStorage]:
    """A storage for each schema, on one pool."""
    shared = [await start(share=storage, schema=schema) for schema in schemas[1:]]
    return [storage, *shared]


def order(id: str = "order::1", **context: Any) -> Instance:
    return Instance(id, "Order", context=Context(context))


def pool_of(storage: AsyncStorage) -> Pool:
    return storage._pool_executor.pool


class TestWhoseThePoolIs:
    @pytest.mark.parametrize("turns", (*permutations(range(3)),), ids=str)
    async def test_it_closes_with_the_last_in_whatever_order_they_close(
        self, turns: tuple[int, ...], start: Start, schemas: list[str], pool: Pool
    ) -> None:
        name = uuid4().hex
        first = await start(server_settings={"application_name": name})
        second = await start(share=first, schema=schemas[1])
        storages = [first, second, await start(share=second, schema=schemas[2])]
        await asyncio.gather(*(each.put(order()) for each in storages))
        for closed, turn in enumerate(turns):
            await storages[turn].close()
            with pytest.raises(StorageClosedError):
                await storages[turn].get("order::1")
            for other in turns[closed + 1 :]:
                assert await storages[other].get("order::1")

        counted = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        assert await pool.fetchval(counted, name) == 0

    async def test_all_may_close_at_once_and_more_than_once(
        self, tenants: list[AsyncStorage]
    ) -> None:
        pool = pool_of(tenants[0])
        await asyncio.gather(*(each.close() for each in [*tenants, *tenants]))
        with pytest.raises(asyncpg.InterfaceError):
            await pool.acquire()

    async def test_closing_one_twice_leaves_the_others_theirs(
        self, tenants: list[AsyncStorage]
    ) -> None:
        await tenants[0].close()
        await tenants[0].close()
        await tenants[1].put(order())

    async def test_one_of_the_users_own_stays_theirs(
        self, start: Start, pool: Pool, schemas: list[str]
    ) -> None:
        first = await start(pool=pool)
        second = await start(share=first, schema=schemas[1])
        await first.close()
        await second.put(order())
        await second.close()
        assert await pool.fetchval("SELECT 1") == 1

    async def test_one_that_fails_to_start_takes_nothing_with_it(
        self, storage: AsyncStorage, start: Start
    ) -> None:
        with pytest.raises(SchemaOutdatedError):
            await start(share=storage, schema="no_such_schema")
        with pytest.raises(AlreadyStartedError):
            await start(share=storage, name=storage.name)
        await storage.put(order())
        pool = pool_of(storage)
        await storage.close()
        with pytest.raises(asyncpg.InterfaceError):
            await pool.acquire()

    async def test_a_closed_one_cannot_be_shared_though_its_pool_is_open(
        self, tenants: list[AsyncStorage], start: Start
    ) -> None:
        late = start(share=tenants[0])
        await tenants[0].close()
        for starting in (late, start(share=tenants[0])):
            with pytest.raises(StorageClosedError):
                await starting
        await start(share=tenants[1], schema=tenants[1].schema)

    async def test_one_of_another_event_loop_cannot_be_shared(
        self, storage: AsyncStorage, start: Start
    ) -> None:
        async def started() -> None:
            await start(share=storage)

        with pytest.raises(WrongEventLoopError):
            await asyncio.to_thread(asyncio.run, started())

    async def test_an_open_transaction_loses_its_connection_and_no_others(
        self, storage: AsyncStorage, start: Start, schemas: list[str]
    ) -> None:
        second = await start(share=storage, schema=schemas[1], timeout=0.2)
        async with storage.transaction() as theirs:
            with pytest.raises(ConnectionLostError):
                async with second.transaction() as tx:
                    await second.close()
                    await tx.put(order())
            await theirs.put(order())
        assert await storage.get("order::1")

    async def test_a_close_that_is_cancelled_leaves_the_pool_to_the_others(
        self, storage: AsyncStorage, start: Start, schemas: list[str]
    ) -> None:
        second = await start(share=storage, schema=schemas[1])
        with pytest.raises(ConnectionLostError):
            async with second.transaction() as tx:
                closing = asyncio.create_task(second.close())
                await asyncio.sleep(0)
                closing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await closing
                await tx.put(order())
        await storage.put(order())
        pool = pool_of(storage)
        await storage.close()
        with pytest.raises(asyncpg.InterfaceError):
            await pool.acquire()

    def test_each_event_loop_has_a_pool_of_its_own(self, dsn: str, schemas: list[str]) -> None:
        async def run() -> Instance | None:
            async with AsyncStorage.start(
                dsn, name=schemas[0], schema=schemas[0], references=Names()
            ) as first:
                start = AsyncStorage.start(
                    share=first, name=schemas[1], schema=schemas[1], references=Names()
                )
                async with start as second:
                    await asyncio.gather(first.put(order()), second.put(order()))
                    return await second.get("order::1")

        assert asyncio.run(run()) == asyncio.run(run()) == order()


class TestOptions:
    async def test_the_timeout_is_up_to_and_by_default_that_of_the_pool(
        self, start: Start, schemas: list[str]
    ) -> None:
        async with start(timeout=7) as first:
            with pytest.raises(InvalidValueError, match="up to the storage's own 7"):
                await start(share=first, timeout=7.1)
            second = await start(share=first, schema=schemas[1], timeout=3)
            third = await start(share=second, schema=schemas[2])
            await third.get("x", timeout=7)
            for storage, wrong in ((second, 3.1), (third, 7.1)):
                with pytest.raises(InvalidValueError, match="timeout"):
                    await storage.get("x", timeout=wrong)

    async def test_others_are_each_storages_own(
        self, storage: AsyncStorage, start: Start, schemas: list[str]
    ) -> None:
        plain = await start(
            share=storage, schema=schemas[1], batching=False, max_state_bytes=2_000, elixir=["a"]
        )
        with pytest.raises(ValueError, match="2,?000"):
            await plain.put(order(text="x" * 2_000))
        await storage.put(order(text="x" * 2_000))
        await asyncio.gather(*(plain.get(str(number)) for number in range(50)))
        assert plain.process_stats().batch_sizes == {}


class TestTenants:
    async def test_the_same_id_is_a_row_of_its_own_in_each(
        self, tenants: list[AsyncStorage]
    ) -> None:
        async def live(storage: AsyncStorage, number: int) -> None:
            id = f"order::{number % 5}"
            await storage.put(order(id, tenant=storage.schema))
            found = await storage.get(id)
            assert found
            assert found.context.initial == {"tenant": storage.schema}

        await asyncio.gather(*(live(each, number) for number in range(100) for each in tenants))

    async def test_an_id_that_is_held_in_one_is_free_in_the_others(
        self, tenants: list[AsyncStorage], pool: Pool
    ) -> None:
        held, *others = tenants
        await held.put(order())
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(f"SELECT FROM {held.schema}.workflow_instances FOR UPDATE")
            waiting = [asyncio.create_task(held.put(order(n=number))) for number in range(3)]
            for number in range(20):
                await asyncio.gather(*(each.put(order(n=number)) for each in others))
            assert not any(task.done() for task in waiting)
        await asyncio.gather(*waiting)

    async def test_calls_of_one_are_gathered_and_counted_for_itself(
        self, tenants: list[AsyncStorage]
    ) -> None:
        busy, other, *idle = tenants
        await asyncio.gather(*(busy.put(order(f"o::{number}")) for number in range(64)))
        await other.get("o::1")
        sizes = busy.process_stats().batch_sizes
        assert sum(size * times for size, times in sizes.items()) == 64
        assert max(sizes) > 8
        assert other.process_stats().batch_sizes == {1: 1}
        for each in idle:
            assert each.process_stats().batch_sizes == {}
        for each in tenants:
            assert each.process_stats().is_idle

    async def test_each_has_its_runners_its_waiters_and_its_transactions(
        self, tenants: list[AsyncStorage]
    ) -> None:
        async def live(storage: AsyncStorage) -> None:
            async with storage.runner(workflows=["Order"]) as runner:
                await storage.insert(order(tenant=storage.schema))
                waiting = asyncio.create_task(storage.wait("order::1"))
                async for claim in runner.claims():
                    async with claim as owned, storage.transaction() as tx:
                        assert owned.context.initial == {"tenant": storage.schema}
                        await tx.update(replace(owned, status=Status.COMPLETED))
                    break
                assert (await waiting).status is Status.COMPLETED
                assert len(await storage.runners()) == 1

        await asyncio.gather(*map(live, tenants))

    @pytest.mark.parametrize("by_tenant", (True, False), ids=("batch_by", "no batch_by"))
    async def test_what_a_hook_sets_is_each_callers_own(
        self, start: Start, role: str, by_tenant: bool
    ) -> None:
        given: dict[str, Any] = {"batch_by": lambda: tenant.get("")} if by_tenant else {}
        tenant.set("acme")
        first = await start(setup=become, server_settings={"role": role}, **given)
        second = await start(share=first)
        await first.close()
        await all_at_once(second)
        assert bool(second.process_stats().batch_sizes) == by_tenant

    async def test_one_whose_schema_is_dropped_costs_the_others_nothing_and_may_come_again(
        self, tenants: list[AsyncStorage], owner: Owner
    ) -> None:
        gone, *others = tenants[1:]
        for each in tenants:
            await each.put(order())
        citus.drop(owner, gone.schema)
        with pytest.raises(SchemaOutdatedError):
            await gone.put(order())
        await asyncio.gather(*(each.put(order(n=number)) for each in others for number in range(9)))
        owner.execute(migrations.sql("up", schema=gone.schema))
        await gone.put(order(again=True))
        assert await gone.get("order::1") == order(again=True)


@pytest.fixture
async def lone(
    storage: AsyncStorage, start: Start, owner: Owner
) -> AsyncIterator[list[AsyncStorage]]:
    """Many storages beside ``storage``, each with a schema of its own."""
    schemas = [f"{storage.schema}_{number}" for number in range(LONE)]
    owner.execute("".join(migrations.sql("up", schema=schema) for schema in schemas))
    yield [await start(share=storage, schema=schema) for schema in schemas]
    for schema in schemas:
        citus.drop(owner, schema)


async def turns_beside(busy: AsyncStorage, lone: list[AsyncStorage]) -> tuple[int, int]:
    """The calls of the busy one, and the fewest of one of the others, until there are enough."""
    turns: Counter[str] = Counter()

    async def calls(storage: AsyncStorage, id: str) -> None:
        while turns.total() < CALLS:
            await storage.put(order(id, n=turns[storage.schema]))
            turns[storage.schema] += 1

    await asyncio.gather(
        *(calls(busy, f"order::{number}") for number in range(MANY)),
        *(calls(each, "order::1") for each in lone),
    )
    return turns[busy.schema], min(turns[each.schema] for each in lone)


class TestManyTenants:
    async def test_none_starves_beside_one_with_many_callers(
        self, storage: AsyncStorage, lone: list[AsyncStorage], start: Start
    ) -> None:
        _, fewest = await turns_beside(storage, lone)
        statements = sum(storage.process_stats().batch_sizes.values())
        assert fewest >= statements / NUM_WORKERS / 2  # it has so many in line at once

        apart = await start(share=storage, batching=False)
        many, fewest = await turns_beside(apart, lone)
        assert fewest >= many / MANY / 4

    async def test_one_that_rests_has_no_task_no_connection_and_little_memory(
        self, storage: AsyncStorage, start: Start
    ) -> None:
        await start(share=storage)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            resting = [await start(share=storage) for _ in range(RESTING)]
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        stats = resting[-1].process_stats()
        assert stats.is_idle
        assert stats.connections_idle == 1
        assert (after - before) / RESTING < BYTES_AT_REST

    async def test_many_start_at_once(self, storage: AsyncStorage, start: Start) -> None:
        async def started() -> str:
            return (await start(share=storage)).name

        names = await asyncio.gather(*(started() for _ in range(RESTING)))
        assert len(set(names)) == RESTING
