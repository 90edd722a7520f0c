"""Connections that stay in hand: who gets them, in which order, and what becomes of broken ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import Instance
from hephaestus_pg.driver.connection import PooledConnection
from hephaestus_pg.execution import kept
from hephaestus_pg.execution.kept import LOOKED_AT, PASSED_OVER, KeptConnections
from tests.support.lag import happens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick


@pytest.fixture
async def ours(dsn: str) -> AsyncIterator[Pool]:
    """A pool of two connections, as a storage opens it."""
    reset: Any = PooledConnection.reset_if_lent
    pool: Pool = await asyncpg.create_pool(
        dsn, min_size=0, max_size=2, connection_class=PooledConnection, reset=reset
    )
    yield pool
    pool.terminate()


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, nothing goes back for want of use."""
    monkeypatch.setattr(kept, "KEEP_SECONDS", 600)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not used goes back soon, and nothing for the number of its turns."""
    monkeypatch.setattr(kept, "KEEP_SECONDS", 0.01)
    monkeypatch.setattr(kept, "MAX_TURNS", 10**9)


@pytest.fixture
async def connections(ours: Pool) -> KeptConnections:
    return KeptConnections(ours)


async def acquired(connections: KeptConnections, text: str = "") -> Any:
    return connections.try_acquire(text) or await connections.acquire(text)


async def released(connections: KeptConnections, connection: Any) -> None:
    if not connections.try_release(connection):
        await connections.release(connection)


async def waiting(connections: KeptConnections, text: str = "") -> asyncio.Task[Any]:
    """Somebody who waits in line."""
    task = asyncio.create_task(acquired(connections, text))
    await asyncio.sleep(0)
    assert not task.done()
    return task


@pytest.mark.usefixtures("long")
class TestInHand:
    async def test_the_next_call_has_the_connection_of_the_last(
        self, connections: KeptConnections, ours: Pool
    ) -> None:
        first = await acquired(connections)
        assert connections.idle == 0
        await released(connections, first)
        assert (connections.idle, ours.get_size(), ours.get_idle_size()) == (1, 1, 0)
        assert await acquired(connections) is first

    async def test_at_once_there_are_as_many_as_the_pool_holds(
        self, connections: KeptConnections, ours: Pool
    ) -> None:
        both = [await acquired(connections), await acquired(connections)]
        assert ours.get_size() == 2
        third = await waiting(connections)
        await released(connections, both[1])
        assert await third is both[1]

    async def test_one_that_has_prepared_the_statement_is_taken(
        self, connections: KeptConnections
    ) -> None:
        first, second = [await acquired(connections, text) for text in ("a", "b")]
        for connection in (first, second):
            await released(connections, connection)
        for text, expected in (("a", first), ("b", second), ("a", first), ("c", second)):
            assert await acquired(connections, text) is expected
            await released(connections, expected)

    async def test_it_goes_by_the_pool_after_many_turns(
        self, connections: KeptConnections, ours: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kept, "MAX_TURNS", 3)
        idle = []
        for _ in range(6):
            await released(connections, await acquired(connections))
            idle.append((ours.get_size(), ours.get_idle_size()))
        assert idle == [(1, 0), (1, 0), (1, 1)] * 2

    async def test_what_a_caller_had_is_reset(
        self, connections: KeptConnections, ours: Pool
    ) -> None:
        first = await acquired(connections)
        lent: Any = connections.lend(first)
        await lent.execute("SET app.tenant = 'acme'")
        await released(connections, first)
        assert (connections.idle, ours.get_idle_size()) == (0, 1)
        again = await acquired(connections)
        assert again is first
        assert not await again.fetchval("SELECT current_setting('app.tenant', true)")
        with pytest.raises(asyncpg.InterfaceError, match="released back"):
            await lent.execute("SELECT 1")

    async def test_an_open_transaction_ends(self, connections: KeptConnections, ours: Pool) -> None:
        first = await acquired(connections)
        await first.execute("BEGIN")
        await released(connections, first)
        assert (connections.idle, ours.get_idle_size()) == (0, 1)
        assert not (await acquired(connections)).is_in_transaction()


@pytest.mark.usefixtures("short")
class TestGoingBack:
    async def test_it_goes_back_when_nobody_has_used_it_for_a_moment(
        self, connections: KeptConnections, ours: Pool
    ) -> None:
        await released(connections, await acquired(connections))
        await happens(lambda: ours.get_idle_size() == 1)
        assert connections.idle == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await released(connections, await acquired(connections))
        assert ours.get_size() == 1

    async def test_of_two_the_one_goes_back_that_is_not_needed(
        self, connections: KeptConnections, ours: Pool
    ) -> None:
        for connection in [await acquired(connections), await acquired(connections)]:
            await released(connections, connection)
        used = set()
        while not ours.get_idle_size():
            used.add(connection := await acquired(connections, "a"))
            await released(connections, connection)
            await asyncio.sleep(0)
        assert len(used) == 1
        assert await acquired(connections, "a") in used

    async def test_two_that_are_used_in_turns_both_stay(
        self, connections: KeptConnections, ours: Pool
    ) -> None:
        for connection in [await acquired(connections, "a"), await acquired(connections, "b")]:
            await released(connections, connection)
        end = asyncio.get_running_loop().time() + 10 * kept.KEEP_SECONDS
        while asyncio.get_running_loop().time() < end:
            for text in ("a", "b"):  # in each turn of the loop, and so between any two looks
                await released(connections, await acquired(connections, text))
            await asyncio.sleep(0)
            assert (ours.get_size(), ours.get_idle_size()) == (2, 0)

    async def test_one_whose_way_back_is_cancelled_ends(
        self, connections: KeptConnections, ours: Pool
    ) -> None:
        """As by a program that ends by cancelling all of its tasks."""

        def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
            task = asyncio.Task(work, loop=loop, **options)
            task.cancel()
            return task

        loop = asyncio.get_running_loop()
        connection = await acquired(connections)
        await released(connections, connection)
        loop.set_task_factory(make)
        try:
            await happens(connection.is_closed)
        finally:
            loop.set_task_factory(None)
        both = [await acquired(connections), await acquired(connections)]
        assert ours.get_size() == len(set(both)) == 2


@pytest.mark.usefixtures("long")
class TestBroken:
    @pytest.mark.parametrize("when", ("in use", "kept"))
    @pytest.mark.parametrize("how", ("terminated", "expired"))
    async def test_it_is_replaced(
        self, connections: KeptConnections, ours: Pool, when: str, how: str
    ) -> None:
        async def end() -> None:
            if how == "expired":
                await ours.expire_connections()
            else:
                first.terminate()

        first = await acquired(connections)
        if when == "in use":
            await end()
        await released(connections, first)
        if when == "kept":
            await end()
        second = await acquired(connections)
        assert second is not first
        await second.fetchval("SELECT 1")
        await released(connections, second)
        await happens(first.is_closed)
        await happens(lambda: (ours.get_size(), connections.idle) == (1, 1))
        both = [await acquired(connections), await acquired(connections)]
        assert len(set(both)) == 2

    async def test_who_waits_for_it_gets_another(self, connections: KeptConnections) -> None:
        first, _ = await acquired(connections), await acquired(connections)
        third = await waiting(connections)
        first.terminate()
        await released(connections, first)
        assert await (await third).fetchval("SELECT 1") == 1

    async def test_one_that_cannot_be_had_fails_one_call_and_the_next_tries_itself(
        self, connections: KeptConnections, ours: Pool, dsn: str
    ) -> None:
        ours.set_connect_args(dsn, port=1)
        failing = [asyncio.create_task(acquired(connections)) for _ in range(3)]
        await asyncio.sleep(0)
        ours.set_connect_args(dsn)
        results = await asyncio.gather(*failing, return_exceptions=True)
        assert [isinstance(result, OSError) for result in results] == [True, True, False]


@pytest.mark.usefixtures("long")
class TestLine:
    @pytest.fixture
    async def both(self, connections: KeptConnections) -> list[Any]:
        return [await acquired(connections, "a"), await acquired(connections, "b")]

    async def test_who_waits_comes_in_order_and_before_who_comes_now(
        self, connections: KeptConnections, both: list[Any]
    ) -> None:
        first, second = await waiting(connections), await waiting(connections)
        await released(connections, both[0])
        assert connections.try_acquire("") is None
        assert await first is both[0]
        assert not second.done()
        await released(connections, both[0])
        assert await second is both[0]

    @pytest.mark.parametrize("moment", ("before its turn", "at its turn"))
    async def test_who_is_cancelled_costs_no_connection(
        self, connections: KeptConnections, both: list[Any], moment: str
    ) -> None:
        first, second = await waiting(connections), await waiting(connections)
        if moment == "before its turn":
            first.cancel()
        await released(connections, both[0])
        first.cancel()
        assert await second is both[0]
        with pytest.raises(asyncio.CancelledError):
            await first

    async def test_who_is_cancelled_at_a_turn_to_connect_leaves_it_to_the_next(
        self, connections: KeptConnections, both: list[Any]
    ) -> None:
        first, second = await waiting(connections), await waiting(connections)
        both[0].terminate()
        releasing = asyncio.create_task(released(connections, both[0]))
        await releasing
        first.cancel()
        assert await (await second).fetchval("SELECT 1") == 1

    async def test_a_connection_goes_to_whom_its_statements_suit(
        self, connections: KeptConnections, both: list[Any]
    ) -> None:
        for_b, for_a = await waiting(connections, "b"), await waiting(connections, "a")
        await released(connections, both[0])
        assert await for_a is both[0]
        await released(connections, both[0])
        assert await for_b is both[0]

    async def test_who_stands_far_behind_waits_for_those_ahead(
        self, connections: KeptConnections, both: list[Any]
    ) -> None:
        """To look for him each release would look at the whole line, and a burst at its square."""
        line = [await waiting(connections, f"c{n}") for n in range(LOOKED_AT)]
        far = await waiting(connections, "a")
        await released(connections, both[0])
        assert await line.pop(0) is both[0]
        await released(connections, both[0])
        assert await far is both[0]

        last = await waiting(connections, "c")
        for task in line:
            task.cancel()  # they stand there until they have run
        await released(connections, both[0])
        assert await last is both[0]

    async def test_nobody_is_passed_over_for_ever(
        self, connections: KeptConnections, both: list[Any]
    ) -> None:
        other = await waiting(connections, "c")
        turns = 0
        while not other.done() and turns <= PASSED_OVER:
            suiting = await waiting(connections, "a")
            await released(connections, both[0])
            await asyncio.wait({other, suiting}, return_when=asyncio.FIRST_COMPLETED)
            turns += 1
        suiting.cancel()
        assert 1 < turns <= PASSED_OVER

    async def test_a_tenant_with_many_callers_leaves_their_turns_to_those_with_one(
        self, connections: KeptConnections, both: list[Any]
    ) -> None:
        turns = dict.fromkeys([f"tenant {n}" for n in range(51)], 0)

        async def caller(tenant: str) -> None:
            while min(turns.values()) < 4 and turns["tenant 0"] < 5000:
                connection = await acquired(connections, tenant)
                turns[tenant] += 1
                await asyncio.sleep(0)  # where its statement is
                await released(connections, connection)

        callers = [caller("tenant 0") for _ in range(60)] + [caller(name) for name in turns]
        for connection in both:
            await released(connections, connection)
        await asyncio.gather(*callers)
        fewest, *_, most = sorted(turns.values())
        assert fewest >= 4
        assert most <= 4 * (61 + PASSED_OVER) * 2


@pytest.mark.usefixtures("long")
async def test_after_the_end_nothing_is_kept(connections: KeptConnections, ours: Pool) -> None:
    both = [await acquired(connections), await acquired(connections)]
    await released(connections, both[0])
    await connections.close()
    assert (ours.get_idle_size(), connections.idle) == (1, 0)
    await released(connections, both[1])
    assert ours.get_idle_size() == 2
    await ours.close()


async def test_busy_callers_let_others_have_the_only_connection(start: Start) -> None:
    stop = False

    async def caller(id: str) -> None:
        while not stop:
            await storage.put(Instance.new("W", {}, id=id))

    async with start(max_size=1) as storage:
        async with asyncio.TaskGroup() as group:
            for n in range(32):
                group.create_task(caller(f"x::{n}"))
            for turn in range(5):
                async with storage.transaction() as transaction:
                    await transaction.put(Instance.new("W", {}, id=f"own::{turn}"))
            stop = True
        assert await storage.count() == 32 + 5
