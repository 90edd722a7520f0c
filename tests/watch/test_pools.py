"""The pools that users give, or have opened, for a storage on which somebody waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from hephaestus_pg import AsyncStorage, OperationTimeoutError, UnavailableError
from hephaestus_pg.watch import watchers
from tests.support.lag import happens
from tests.watch.conftest import done, listens, waiting

if TYPE_CHECKING:
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]


async def end_listening(pool: Pool, storage: AsyncStorage) -> None:
    """End the backend that has just registered who listens, and no other."""
    await pool.execute(
        """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE query LIKE 'INSERT INTO "' || $1 || '".workflow_runners%'
        """,
        storage.schema,
    )
    await happens(lambda: not storage._subscription.is_listening)


async def test_one_connection_is_enough(storage: AsyncStorage, start: Start, dsn: str) -> None:
    async with (
        asyncpg.create_pool(dsn, min_size=1, max_size=1, statement_cache_size=0) as pool,
        start(pool=pool) as theirs,
    ):
        task = waiting(theirs)
        await listens(theirs)
        stored = await storage.put(done())
        assert await task == stored


async def test_connections_that_take_longer_to_open_than_a_look_may(
    storage: AsyncStorage, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "ANSWER_SECONDS", 0.01)

    async def slow(_: object) -> None:
        await asyncio.sleep(0.3)

    async with start(init=slow) as theirs:
        await theirs._pool_executor.pool.expire_connections()
        task = waiting(theirs)
        await happens(lambda: theirs._pool_executor.stats().failed_tries > 1)
        stored = await storage.put(done())
        async with asyncio.timeout(60):
            assert await task == stored


async def test_a_wait_inside_a_transaction_that_has_the_only_connection_times_out(
    start: Start,
) -> None:
    async with start(max_size=1) as storage:
        async with storage.transaction() as tx:
            await tx.put(done())
            with pytest.raises(OperationTimeoutError):
                await storage.wait("x", timeout=0.2)
        assert (await storage.wait("x")).id == "x"


async def test_one_that_is_closed_under_those_who_wait_is_named(
    start: Start, dsn: str, quick: None
) -> None:
    pool = await asyncpg.create_pool(dsn, min_size=1)
    async with start(pool=pool) as storage:
        tasks = [waiting(storage, str(number)) for number in range(3)]
        await listens(storage)
        await pool.close()
        for task in tasks:
            with pytest.raises(UnavailableError, match="the pool is closed"):
                await task


@pytest.mark.parametrize("error", (KeyError, asyncio.CancelledError, OSError))
async def test_a_password_function_that_fails_when_it_listens_again(  # noqa: PLR0917
    storage: AsyncStorage,
    start: Start,
    pool: Pool,
    dsn: str,
    error: type[BaseException],
    caplog: pytest.LogCaptureFixture,
    quick: None,
) -> None:
    calls, fails = 0, False

    def password() -> str:
        nonlocal calls
        calls += 1
        if fails:
            raise error
        return "any"

    async with (
        asyncpg.create_pool(dsn, min_size=1, password=password) as theirs,
        start(pool=theirs) as far,
    ):
        task = waiting(far)
        await listens(far)
        fails, before = True, calls
        await end_listening(pool, far)
        await happens(lambda: calls > before + 2)
        assert not task.done()
        fails = False
        await listens(far)
        stored = await storage.put(done())
        assert await task == stored
        told = [each for each in caplog.messages if each.startswith("not told")]
        assert len(told) == (error is not OSError)
