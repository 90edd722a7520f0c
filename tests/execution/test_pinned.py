"""A worker's connection: kept from statement to statement, and never for long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg.execution import pinned
from hephaestus_pg.execution.pinned import PinnedConnection

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick


async def acquired(pinned_connection: PinnedConnection) -> Any:
    return pinned_connection.try_acquire("") or await pinned_connection.acquire("")


async def released(pinned_connection: PinnedConnection, connection: Any) -> None:
    if not pinned_connection.try_release(connection):
        await pinned_connection.release(connection)


async def statement(pinned_connection: PinnedConnection) -> Any:
    """Which of the server's processes carries it out."""
    connection = await acquired(pinned_connection)
    pid = await connection.fetchval("SELECT pg_backend_pid()")
    await released(pinned_connection, connection)
    return pid


@pytest.mark.usefixtures("kept")
async def test_statements_share_a_connection_which_is_given_back_at_the_end(two: Pool) -> None:
    pinned_connection = PinnedConnection(two)
    assert len({await statement(pinned_connection) for _ in range(5)}) == 1
    assert two.get_idle_size() == 0
    await pinned_connection.close()
    assert two.get_idle_size() == two.get_size() == 1
    await pinned_connection.close()


@pytest.mark.usefixtures("kept")
async def test_two_statements_at_once_have_one_each_and_one_is_kept(two: Pool) -> None:
    pinned_connection = PinnedConnection(two)
    connections = [await acquired(pinned_connection), await acquired(pinned_connection)]
    for connection in connections:
        await released(pinned_connection, connection)
    assert (two.get_size(), two.get_idle_size()) == (2, 1)
    await pinned_connection.close()
    assert two.get_idle_size() == 2


async def test_it_is_given_back_when_its_time_is_up(
    two: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinned, "KEEP_SECONDS", 0)
    await statement(PinnedConnection(two))
    assert two.get_idle_size() == 1


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("when", ("in use", "kept"))
async def test_one_that_broke_is_replaced(two: Pool, when: str) -> None:
    pinned_connection = PinnedConnection(two)
    first = await acquired(pinned_connection)
    pid = first.get_server_pid()
    if when == "in use":
        first.terminate()
    await released(pinned_connection, first)
    if when == "kept":
        first.terminate()

    assert await statement(pinned_connection) != pid
    await pinned_connection.close()
    assert two.get_idle_size() == two.get_size() == 1


async def test_one_who_waits_for_the_pool_is_not_kept_waiting(dsn: str, kept: None) -> None:
    async with asyncpg.create_pool(dsn, min_size=0, max_size=1) as pool:
        connection = PinnedConnection(pool)
        first = await connection.acquire("")
        waiting = asyncio.create_task(connection.acquire(""))
        await asyncio.sleep(0)
        assert not connection.try_release(first)
        await connection.release(first)
        async with asyncio.timeout(30):
            second = await waiting
        assert connection.try_release(second)
        await connection.close()
