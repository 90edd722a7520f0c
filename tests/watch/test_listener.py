from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import Instance, OperationTimeoutError, Status, migrations
from hephaestus_pg.driver.pool import connect_beside
from hephaestus_pg.watch import listener, subscription, watchers
from tests.support.catalog import WAIT_SECONDS
from tests.support.lag import happens
from tests.watch.conftest import listens

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage
    from tests.chaos.proxy import Proxy
    from tests.support.faults import Faults
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]


async def rows(pool: Pool, storage: AsyncStorage) -> int:
    """The listeners that other processes know of."""
    table = f"{storage.schema}.workflow_runners"
    query = f"SELECT count(*) FROM {table} WHERE workflows = '{{}}' AND expires_at > now()"
    return int(await pool.fetchval(query))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "LINGER_SECONDS", 0.0)
    monkeypatch.setattr(listener, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(listener, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(listener, "REFUSED_SECONDS", 0.01)


async def test_others_know_of_it_for_as_long_as_it_listens(
    storage: AsyncStorage, pool: Pool
) -> None:
    assert await rows(pool, storage) == 0
    waiting = asyncio.create_task(storage.wait("x"))
    await listens(storage)
    assert await rows(pool, storage) == 1
    assert await storage.runners() == []
    waiting.cancel()
    while await rows(pool, storage) == 1:
        await asyncio.sleep(0.01)


async def test_one_whose_row_is_gone_registers_again(storage: AsyncStorage, pool: Pool) -> None:
    waiting = asyncio.create_task(storage.wait("x"))
    await listens(storage)
    await pool.execute(f"DELETE FROM {storage.schema}.workflow_runners")
    while await rows(pool, storage) == 0:
        await asyncio.sleep(0.01)
    waiting.cancel()


async def test_one_whose_connection_breaks_listens_again(
    far: AsyncStorage, proxy: Proxy, pool: Pool
) -> None:
    waiting = asyncio.create_task(far.wait("x"))
    for _ in range(2):
        await listens(far)
        looks = far._watchers.looks
        proxy.drop(proxy.paths)
        await happens(lambda: not far._subscription.is_listening)
        await listens(far)
        await happens(lambda: far._watchers.looks > looks)  # noqa: B023 - awaited in the loop
        assert await rows(pool, far) == 1
    waiting.cancel()


async def test_one_that_is_needed_again_while_it_ends_goes_on(storage: AsyncStorage) -> None:
    for _ in range(3):
        waiting = asyncio.create_task(storage.wait("x"))
        await listens(storage)
        waiting.cancel()
        await asyncio.wait({waiting})
        await asyncio.sleep(0)


async def test_it_gives_signs_of_life_however_often_somebody_begins_to_wait(
    storage: AsyncStorage, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = asyncio.create_task(storage.wait("x"))
    await listens(storage)
    beats = 0
    real = storage._subscription.beat

    async def beat(connection: Any) -> None:
        nonlocal beats
        beats += 1
        await real(connection)

    monkeypatch.setattr(storage._subscription, "beat", beat)
    async with asyncio.timeout(WAIT_SECONDS):
        while not beats:
            with suppress(OperationTimeoutError):
                await storage.wait("y", timeout=0.02)
    waiting.cancel()


async def test_one_that_is_needed_again_while_it_is_busy_goes_on(
    storage: AsyncStorage, start: Start, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "LOOK_SECONDS", 3600.0)
    one, two = [await start(pool=pool) for _ in range(2)]
    keeps = asyncio.create_task(two.wait("x"))
    waiting = asyncio.create_task(one.wait("x"))
    await listens(one)
    await listens(two)
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def beat(_: Any) -> None:
        began.set()
        await goes_on.wait()

    monkeypatch.setattr(two._subscription, "beat", beat)
    await began.wait()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert not one._subscription.is_needed
    waiting = asyncio.create_task(one.wait("x"))
    await asyncio.sleep(0)
    goes_on.set()
    await happens(lambda: not one._listener._changed.is_set())
    await storage.put(Instance("x", "Order", status=Status.COMPLETED))
    async with asyncio.timeout(WAIT_SECONDS):
        await asyncio.gather(waiting, keeps)


async def test_one_that_a_hook_fails_tries_again(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [KeyError("a hook of the user's")]
    real = connect_beside

    async def connect(pool: Pool) -> Any:
        if failures:
            raise failures.pop()
        return await real(pool)

    monkeypatch.setattr(listener, "connect_beside", connect)
    waiting = asyncio.create_task(storage.wait("x"))
    await listens(storage)
    waiting.cancel()


async def test_one_that_a_program_cancels_at_its_end_stays_ended(storage: AsyncStorage) -> None:
    waiting = asyncio.create_task(storage.wait("x"))
    await listens(storage)
    task = storage._listener._task
    assert task is not None
    task.cancel()
    await asyncio.wait({task})
    assert storage._listener._task is None
    waiting.cancel()


async def test_a_close_that_is_cancelled_ends_it(
    storage: AsyncStorage, other: AsyncStorage, faults: Faults
) -> None:
    waits = [asyncio.create_task(each.wait("x")) for each in (storage, other)]
    await listens(storage)
    await listens(other)
    telling = faults.delay("notify")
    await storage.put(Instance("a", "Order"))
    await telling.started.wait()
    closing = asyncio.create_task(storage.close())
    await asyncio.wait({waits[0]})
    closing.cancel()
    await asyncio.wait({closing})
    assert closing.cancelled()
    assert storage._listener._task is None
    assert waits[0].exception() is not None
    waits[1].cancel()


async def test_closing_the_storage_ends_it(storage: AsyncStorage, pool: Pool) -> None:
    waiting = asyncio.create_task(storage.wait("x"))
    await listens(storage)
    await storage.close()
    await asyncio.wait({waiting})
    assert waiting.exception() is not None
    assert not storage._subscription.is_listening
    assert await rows(pool, storage) == 0


async def test_one_schema_that_refuses_keeps_no_other_from_being_told(  # noqa: PLR0917
    start: Start,
    pool: Pool,
    storage: AsyncStorage,
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(watchers, "LOOK_SECONDS", 3600.0)
    monkeypatch.setattr(listener, "REFUSED_SECONDS", 0.3)
    schema = f"{storage.schema}_a"
    await migrations.up(dsn, schema=schema)
    async with start(pool=pool, schema=schema) as one, start(pool=pool) as two:
        await pool.execute(f"ALTER TABLE {schema}.workflow_runners RENAME TO gone")
        tasks = [asyncio.create_task(each.wait("x")) for each in (one, two)]
        await listens(two)
        await happens(lambda: "workflow_runners" in caplog.text)
        stored = await storage.put(Instance("x", "Order", status=Status.COMPLETED))
        assert await tasks[1] == stored
        await pool.execute(f"ALTER TABLE {schema}.gone RENAME TO workflow_runners")
        await listens(one)
        assert caplog.text.count("not told") == 1
        tasks[0].cancel()
    await migrations.down(dsn, schema=schema, version=0, allow_row_loss=True)


async def test_the_storages_of_a_pool_share_a_connection(
    start: Start, pool: Pool, storage: AsyncStorage, dsn: str
) -> None:
    schemas = [f"{storage.schema}_{tenant}" for tenant in ("a", "b")]
    for schema in schemas:
        await migrations.up(dsn, schema=schema)
    one, two = [await start(pool=pool, schema=schema) for schema in schemas]
    first, second = [asyncio.create_task(each.wait("x")) for each in (one, two)]
    third = asyncio.create_task(two.wait("y"))
    await listens(one)
    await listens(two)
    assert one._listener is two._listener
    async with start(schema=schemas[1]) as writer:
        stored = await writer.put(Instance("x", "Order", status=Status.COMPLETED))
        assert await second == stored
    assert not first.done()
    await one.close()
    await happens(lambda: not one._subscription.is_listening)
    assert two._subscription.is_listening
    await asyncio.wait({first})
    assert first.exception() is not None
    await two.close()
    await asyncio.wait({third})
    assert third.exception() is not None
    for schema in schemas:
        await migrations.down(dsn, schema=schema, version=0, allow_row_loss=True)
