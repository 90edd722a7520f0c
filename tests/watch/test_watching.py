"""Who waits has the last state: told by a notification, or by a look of its own."""

from __future__ import annotations

import asyncio
import gc
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    AsyncStorage,
    Instance,
    InvalidTypeError,
    InvalidValueError,
    OperationTimeoutError,
    Status,
    StorageClosedError,
    migrations,
)
from hephaestus_pg.watch import watchers
from tests.support.lag import happens
from tests.watch.conftest import has_looked, listens, waiting, waits

if TYPE_CHECKING:
    import asyncpg

    from tests.support.faults import Faults, FaultsOf
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

tenant: ContextVar[str] = ContextVar("tenant", default="")

ECTO_UPSERT = """
    INSERT INTO {schema}.workflow_instances
        (id, workflow, status, workflow_version, state, inserted_at, updated_at)
    VALUES ('x', 'Order', 'completed', 1, '{{}}', now(), now())
    ON CONFLICT (id) DO UPDATE SET status = EXCLUDED.status, state = EXCLUDED.state
"""


@pytest.fixture
async def order(storage: AsyncStorage) -> Instance:
    return await storage.insert(Instance("x", "Order"))


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody looks by himself, soon."""
    monkeypatch.setattr(watchers, "LOOK_SECONDS", 0.1)


@pytest.fixture
def only_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks by himself, so that whoever knows something has been told."""
    monkeypatch.setattr(watchers, "LOOK_SECONDS", 3600.0)


async def is_never(_: Instance) -> bool:
    return False


def finished(order: Instance) -> Instance:
    return replace(order, status=Status.COMPLETED)


class TestWhatIsWaitedFor:
    async def test_what_is_there_is_given_at_once(
        self, storage: AsyncStorage, order: Instance
    ) -> None:
        assert await storage.wait("x", until="pending") == order
        assert await storage.wait("x", until=["pending", Status.FAILED]) == order
        assert await storage.wait("x", until=lambda instance: instance.workflow == "Order") == order

    async def test_by_default_it_is_the_end(self, storage: AsyncStorage, order: Instance) -> None:
        task = waiting(storage)
        running = await storage.update(replace(order, status=Status.RUNNING))
        failed = await storage.update(replace(running, status=Status.FAILED))
        assert await task == failed

    async def test_an_instance_may_be_still_to_come(self, storage: AsyncStorage) -> None:
        task = waiting(storage)
        await listens(storage)
        stored = await storage.put(finished(Instance("x", "Order")))
        assert await task == stored

    @pytest.mark.parametrize(
        ("until", "error"),
        (
            ("done", InvalidValueError),
            ([], InvalidTypeError),
            (7, InvalidTypeError),
            (None, InvalidTypeError),
            (is_never, InvalidTypeError),
        ),
    )
    async def test_what_is_no_state_is_named(
        self, storage: AsyncStorage, until: Any, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            await storage.wait("x", until=until)

    async def test_the_time_is_up(self, storage: AsyncStorage, order: Instance) -> None:
        with pytest.raises(OperationTimeoutError, match="wait of 'x' did not end within") as raised:
            await storage.wait("x", timeout=0.05)
        assert (raised.value.verb, raised.value.id, raised.value.timeout) == ("wait", "x", 0.05)

    async def test_what_a_function_raises_is_raised(
        self, storage: AsyncStorage, order: Instance
    ) -> None:
        with pytest.raises(ZeroDivisionError):
            await storage.wait("x", until=lambda _: 1 / 0)

    async def test_an_answer_that_has_to_be_awaited_is_none(self, storage: AsyncStorage) -> None:
        """It would count as true, so that nobody waited."""
        await storage.put(Instance("x", "Order"))

        async def is_paid(instance: Instance) -> bool:
            return instance.status is Status.COMPLETED

        with pytest.raises(InvalidTypeError, match=r"^until is .*not async"):
            await storage.wait("x", until=lambda instance: is_paid(instance))  # noqa: PLW0108

    async def test_closing_ends_those_who_wait(self, other: AsyncStorage, order: Instance) -> None:
        task = await waits(other)
        await other.close()
        with pytest.raises(StorageClosedError):
            await task
        with pytest.raises(StorageClosedError):
            await other.wait("x")


class TestWatching:
    async def test_it_begins_with_what_there_is_and_never_goes_back(
        self, storage: AsyncStorage, other: AsyncStorage, only_told: None
    ) -> None:
        a, _ = await storage.put_many([Instance("a", "Order"), Instance("b", "Order")])
        seen: list[Instance] = []

        async def watch() -> None:
            async for each in other.watch(["a", "b", "c"]):
                seen.append(each)
                if each.status is Status.COMPLETED:
                    return

        task = asyncio.create_task(watch())
        await happens(lambda: len(seen) == 2)
        for number in range(20):
            a = await storage.update(replace(a, current_step=str(number)))
        await storage.update(finished(a))
        await task

        assert {each.id for each in seen[:2]} == {"a", "b"}
        revisions = [each.revision or 0 for each in seen if each.id == "a"]
        assert revisions == sorted(set(revisions))
        assert seen[-1].revision == (a.revision or 0) + 1

    async def test_of_no_ids_ends_at_once(self, storage: AsyncStorage) -> None:
        assert [each async for each in storage.watch([])] == []

    async def test_one_that_is_left_needs_nothing_any_more(self, storage: AsyncStorage) -> None:
        iterator = storage.watch(["a"])
        task = asyncio.ensure_future(anext(iterator))
        await listens(storage)
        task.cancel()
        await asyncio.wait({task})
        del iterator, task
        gc.collect()
        await happens(lambda: len(storage._watchers) == 0)

    async def test_one_whose_step_took_too_long_goes_on(self, storage: AsyncStorage) -> None:
        iterator = storage.watch(["a"])
        with pytest.raises(TimeoutError):  # as who sends something else meanwhile
            async with asyncio.timeout(0.01):
                await anext(iterator)
        stored = await storage.put(Instance("a", "Order"))
        assert await anext(iterator) == stored


class TestBeingTold:
    """With no look of its own: a notification it was."""

    async def test_by_another_process(
        self, storage: AsyncStorage, other: AsyncStorage, order: Instance, only_told: None
    ) -> None:
        task = await waits(other)
        stored = await storage.update(finished(order))
        assert await task == stored

    async def test_by_a_program_of_another_kind(
        self, other: AsyncStorage, pool: Pool, order: Instance
    ) -> None:
        waiting = asyncio.create_task(other.wait(order.id, until="completed"))
        await listens(other)
        await pool.execute(ECTO_UPSERT.format(schema=other.schema))
        hashed = "left(encode(sha256($1::text::bytea), 'hex'), 16)"
        await pool.execute(f"SELECT pg_notify('hephaestus_pg_' || {hashed}, '')", other.schema)
        assert (await waiting).status is Status.COMPLETED

    async def test_when_a_transaction_commits(
        self, storage: AsyncStorage, other: AsyncStorage, order: Instance, only_told: None
    ) -> None:
        task = await waits(other)
        async with storage.transaction() as tx:
            stored = await tx.update(finished(order))
            assert not task.done()
        assert await task == stored

    @pytest.mark.parametrize("in_transaction", (True, False))
    async def test_when_a_transaction_of_the_users_ends(  # noqa: PLR0917
        self,
        storage: AsyncStorage,
        other: AsyncStorage,
        order: Instance,
        pool: Pool,
        in_transaction: bool,
        only_told: None,
    ) -> None:
        here, there = await waits(storage), await waits(other)
        async with (
            pool.acquire() as connection,
            connection.transaction() if in_transaction else nullcontext(),
        ):
            stored = await storage.using(connection).update(finished(order))
            assert not here.done()
        assert await here == await there == stored

    async def test_when_it_ends_by_the_return_of_its_connection(
        self, storage: AsyncStorage, order: Instance, pool: Pool, only_told: None
    ) -> None:
        task = await waits(storage)
        async with pool.acquire() as connection:
            await connection.execute("BEGIN")
            await storage.using(connection).update(finished(order))
            looks = storage._watchers.looks
        await happens(lambda: storage._watchers.looks > looks)  # though it was rolled back
        assert not task.done()
        stored = await storage.update(finished(order))
        assert await task == stored

    async def test_not_when_it_does_not(
        self, storage: AsyncStorage, other: AsyncStorage, order: Instance, looking: None
    ) -> None:
        task = await waits(other)
        with pytest.raises(ZeroDivisionError):
            async with storage.transaction() as tx:
                await tx.update(finished(order))
                raise ZeroDivisionError
        assert not task.done()
        stored = await storage.update(finished(order))
        assert await task == stored

    async def test_without_ids_where_they_are_too_long(
        self, storage: AsyncStorage, other: AsyncStorage, order: Instance, only_told: None
    ) -> None:
        task = await waits(other)
        await storage.put_many(
            [finished(order), *(Instance(f"{n}{'y' * 200}", "Order") for n in range(100))]
        )
        assert (await task).status is Status.COMPLETED

    async def test_only_in_ones_own_schema(  # noqa: PLR0917
        self,
        storage: AsyncStorage,
        other: AsyncStorage,
        start: Start,
        order: Instance,
        dsn: str,
        monkeypatch: pytest.MonkeyPatch,
        only_told: None,
    ) -> None:
        schema = f"{storage.schema}_b"
        await migrations.up(dsn, schema=schema)
        async with start(schema=schema) as elsewhere:
            heard: list[object] = []
            theirs = await elsewhere.insert(order)
            task = await waits(elsewhere)
            told = await waits(other)
            monkeypatch.setattr(elsewhere._subscription, "_on_news", heard.append)
            assert await storage.update(finished(order)) == await told
            assert (heard, task.done()) == ([], False)
            assert await elsewhere.update(finished(theirs)) == await task
        await migrations.down(dsn, schema=schema, version=0, allow_row_loss=True)


class TestWhatItCosts:
    async def test_unused_it_costs_nothing(
        self, start: Start, pool: Pool, schema: str, faults_of: FaultsOf
    ) -> None:
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        tasks = asyncio.all_tasks()
        async with start(max_size=1, server_settings={"application_name": schema}) as storage:
            faults = faults_of(storage)
            order = await storage.insert(Instance("x", "Order"))
            await storage.update(finished(order))
            async with storage.transaction() as tx:
                await tx.put(order)
            async with pool.acquire() as connection, connection.transaction():
                await storage.using(connection).put(order)
            assert faults.tried == ["insert", "update"]
            assert asyncio.all_tasks() == tasks
            assert storage._outlet.notifier.is_idle
            assert await pool.fetchval(count, schema) == 1

    async def test_a_thousand_who_wait_are_one_connection_and_one_look(
        self, storage: AsyncStorage, other: AsyncStorage, pool: Pool, faults_of: FaultsOf
    ) -> None:
        faults = faults_of(other)
        orders = await storage.put_many([Instance(str(n), "Order") for n in range(1000)])
        before = await connections(pool)
        async with asyncio.TaskGroup() as tasks:
            for order in orders:
                tasks.create_task(other.wait(order.id))
            await listens(other)
            # Its own, and one for a look while the pool's is on its way back there.
            assert before < await connections(pool) <= before + 2
            await has_looked(other)
            faults.sent.clear()
            await storage.put_many(map(finished, orders))
        # On a slow machine another look is due meanwhile; by themselves they would be a thousand.
        assert set(faults.sent) == {"changed"}
        assert len(faults.sent) < 10

    async def test_many_writes_are_one_notification(
        self, storage: AsyncStorage, other: AsyncStorage, faults: Faults
    ) -> None:
        task = await waits(other)
        await storage.put(Instance("first", "Order"))
        faults.tried.clear()
        await asyncio.gather(*(storage.put(Instance(f"{n}", "Order")) for n in range(200)))
        await storage.put(finished(Instance("x", "Order")))
        await task
        assert 1 <= faults.tried.count("notify") < 20


async def connections(pool: Pool) -> int:
    query = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend'
    """
    return int(await pool.fetchval(query))


class TestClaims:
    async def test_another_process_is_given_what_was_just_written(
        self, storage: AsyncStorage, other: AsyncStorage, slow_claims: None
    ) -> None:
        async with other.runner(workflows=["Order"]) as runner:
            await listens(other)
            for write in ("insert", "update", "timer"):
                task = asyncio.ensure_future(anext(runner.claims()))
                await happens(lambda: other._watchers is not None and runner._claiming._waiting)
                await asyncio.sleep(0.1)
                soon = datetime.now(UTC) + timedelta(seconds=0.3)
                match write:
                    case "insert":
                        await storage.insert(Instance("insert", "Order"))
                    case "update":
                        held = await storage.insert(
                            Instance("update", "Order", status=Status.WAITING)
                        )
                        assert not task.done()
                        await storage.update(replace(held, status=Status.RUNNING))
                    case _:
                        await storage.insert(Instance("timer", "Order", due_at=soon))
                claim = await task
                assert claim.id == write
                async with claim as order:
                    await other.update(finished(order))

    @pytest.fixture
    def slow_claims(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hephaestus_pg.runners.claiming.POLL_SECONDS", 3600.0)
