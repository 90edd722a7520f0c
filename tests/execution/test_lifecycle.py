"""Closing a storage: calls end as they would, in bounded time, and nothing stays behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    DatabaseError,
    Instance,
    InstanceExistsError,
    NotStartedError,
    OperationTimeoutError,
    StaleInstanceError,
    Status,
    StorageClosedError,
    UnavailableError,
)
from hephaestus_pg.batching import deadlines
from tests.support.catalog import WAIT_SECONDS
from tests.support.lag import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

SECONDS = 2.0
"""How long an operation of the storage may take, and so its end."""


@pytest.fixture
def seconds() -> float:
    return SECONDS


@pytest.fixture(params=(True, False), ids=("batching", "plain"))
async def closing(
    request: pytest.FixtureRequest, start: Start, migrated: str, seconds: float
) -> AsyncIterator[AsyncStorage]:
    """A storage with a short timeout, which the test closes."""
    storage = await start(
        name="closing",
        batching=request.param,
        timeout=seconds,
        server_settings={"application_name": migrated},
    )
    yield storage
    with pytest.raises(NotStartedError):
        AsyncStorage.named("closing")


async def nobody_connected(pool: Pool, name: str) -> None:
    """Wait until the server has seen that all connections of the storage are gone."""
    async with asyncio.timeout(WAIT_SECONDS):
        while await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", name
        ):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("seconds", (30.0,))
async def test_a_verb_of_several_statements_is_not_cut_in_two(closing: AsyncStorage) -> None:
    held = await closing.insert(Instance("x", "W"))
    await closing.put(replace(held, status=Status.RUNNING))
    calls = [
        asyncio.create_task(closing.update(held)),
        asyncio.create_task(closing.insert(held)),
        asyncio.create_task(closing.delete("x", revision=1)),
        asyncio.create_task(closing.get_many(f"{n}" for n in range(2500))),
    ]
    await asyncio.sleep(0)
    await closing.close()

    stale, exists, deleted, many = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(stale, StaleInstanceError)
    assert isinstance(exists, InstanceExistsError)
    assert isinstance(deleted, StaleInstanceError)
    assert many == {}
    with pytest.raises(StorageClosedError):
        await closing.get("x")


async def test_a_transaction_that_stays_open_keeps_nobody_waiting_for_ever(
    closing: AsyncStorage, pool: Pool
) -> None:
    async def stay() -> None:
        async with closing.transaction() as transaction:
            await transaction.put(Instance("x", "W"))
            begun.set()
            await closed.wait()
            await transaction.put(Instance("y", "W"))

    begun, closed = asyncio.Event(), asyncio.Event()
    staying = asyncio.create_task(stay())
    await begun.wait()
    async with within(5 * SECONDS):
        await closing.close()
    closed.set()
    with pytest.raises(DatabaseError):
        await staying
    await nobody_connected(pool, closing.schema)
    rows = await pool.fetchval(f"SELECT count(*) FROM {closing.schema}.workflow_instances")
    assert rows == 0


async def test_calls_that_the_server_does_not_answer_end_by_their_deadline(
    closing: AsyncStorage, pool: Pool
) -> None:
    async with pool.acquire() as other, other.transaction():
        await other.execute(f"LOCK {closing.schema}.workflow_instances")
        puts = [asyncio.create_task(closing.put(Instance(f"{n}", "W"))) for n in range(100)]
        await asyncio.sleep(0)
        async with within(5 * SECONDS):
            await closing.close()
        answers = await asyncio.gather(*puts, return_exceptions=True)
    assert {type(answer) for answer in answers} == {OperationTimeoutError}
    await nobody_connected(pool, closing.schema)


async def test_a_call_that_still_connects_at_its_deadline_ends_before_the_pool(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "STEP", 0.2)
    connections = 0

    async def connect(*arguments: Any, **options: Any) -> Any:
        nonlocal connections
        connections += 1
        if connections > 1:  # the first is for the start
            await asyncio.sleep(SECONDS + 0.05)  # after the deadline, before the timer's next step
        return await asyncpg.connect(*arguments, **options)

    storage = await start(timeout=SECONDS, connect=connect, min_size=0)
    await storage._pool_executor.pool.expire_connections()
    calls = [
        asyncio.create_task(storage.put(Instance("x", "W"), timeout=seconds))
        for seconds in (SECONDS - 0.1, SECONDS)
    ]
    await asyncio.sleep(0)
    await storage.close()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert UnavailableError not in map(type, answers)


async def test_closing_that_is_cancelled_is_cancelled_and_leaves_nothing(
    closing: AsyncStorage, pool: Pool
) -> None:
    async with pool.acquire() as other, other.transaction():
        await other.execute(f"LOCK {closing.schema}.workflow_instances")
        put = asyncio.create_task(closing.put(Instance("x", "W")))
        await asyncio.sleep(0)
        ending = asyncio.create_task(closing.close())
        await asyncio.sleep(0.01)  # it waits for the put
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        with pytest.raises(DatabaseError):
            await put
    with pytest.raises(StorageClosedError):
        await closing.get("x")
    await nobody_connected(pool, closing.schema)


async def test_closing_waits_for_a_transaction(storage: AsyncStorage) -> None:
    async with storage.transaction() as transaction:
        closing = asyncio.create_task(storage.close())
        await asyncio.sleep(0)
        with pytest.raises(StorageClosedError):
            await storage.get("x")
        await transaction.put(Instance("x", "W"))
        assert not closing.done()
    await closing
