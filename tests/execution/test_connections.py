"""Connections of a pool that other code uses too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import RejectedError
from hephaestus_pg.execution.connections import PoolConnections, give_back, take
from tests.support.lag import happens

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick


async def test_none_is_kept(two: Pool) -> None:
    connections = PoolConnections(two)
    assert connections.try_acquire("") is None
    connection = await connections.acquire("")
    assert connections.lend(connection) is connection
    assert not connections.try_release(connection)
    await connections.release(connection)
    assert (connections.idle, two.get_size(), two.get_idle_size()) == (0, 1, 1)
    await connections.close()


async def test_a_reset_that_raises_is_logged_and_ends_the_connection(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: Any) -> None:
        raise KeyError

    async with asyncpg.create_pool(dsn, min_size=0, max_size=1, reset=broken) as pool:
        connection = await pool.acquire()
        await give_back(pool, connection)
        assert "reset hook raised" in caplog.text
        assert pool.get_size() == 0


async def test_a_release_that_was_cancelled_before_it_began_ends_the_connection(two: Pool) -> None:
    """As by a program that ends by cancelling all of its tasks."""
    connection = await two.acquire()
    before = asyncio.all_tasks()
    giving_back = asyncio.create_task(give_back(two, connection))
    await asyncio.sleep(0)
    [release] = asyncio.all_tasks() - before - {giving_back}
    release.cancel()
    await giving_back
    assert two.get_size() == 1
    await happens(lambda: two.get_size() == 0)


async def test_one_that_is_in_a_transaction_is_refused_and_takes_no_place(dsn: str) -> None:
    async def setup(connection: Any) -> None:
        await connection.execute("BEGIN")

    async with asyncpg.create_pool(dsn, min_size=0, max_size=1, setup=setup) as pool:
        for _ in range(2):
            with pytest.raises(RejectedError, match="in a transaction"):
                async with asyncio.timeout(30):
                    await take(pool)
            assert pool.get_size() == 0
