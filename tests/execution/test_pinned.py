"""A worker's connection: kept from statement to statement, and never for long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    Instance,
)
from hephaestus_pg.execution import pinned
from hephaestus_pg.execution.pinned import PinnedConnection

if TYPE_CHECKING:
    import asyncpg

    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick


async def given_back(pool: Pool, pinned_connection: PinnedConnection) -> None:
    if (kept := pinned_connection.unpin()) is not None:
        await pool.release(kept)


async def statement(pinned_connection: PinnedConnection) -> Any:
    """Which of the server's processes carries it out."""
    connection = await pinned_connection.acquire()
    pid = await connection.fetchval("SELECT pg_backend_pid()")
    await pinned_connection.release(connection)
    return pid


@pytest.mark.usefixtures("kept")
async def test_statements_share_a_connection_which_is_given_back_at_the_end(two: Pool) -> None:
    pinned_connection = PinnedConnection(two)
    assert len({await statement(pinned_connection) for _ in range(5)}) == 1
    assert two.get_idle_size() == 0
    await given_back(two, pinned_connection)
    assert two.get_idle_size() == two.get_size() == 1
    await given_back(two, pinned_connection)


@pytest.mark.usefixtures("kept")
async def test_two_statements_at_once_have_one_each_and_one_is_kept(two: Pool) -> None:
    pinned_connection = PinnedConnection(two)
    connections = [await pinned_connection.acquire(), await pinned_connection.acquire()]
    for connection in connections:
        await pinned_connection.release(connection)
    assert (two.get_size(), two.get_idle_size()) == (2, 1)
    await given_back(two, pinned_connection)
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
    first = await pinned_connection.acquire()
    pid = first.get_server_pid()
    if when == "in use":
        first.terminate()
    await pinned_connection.release(first)
    if when == "kept":
        first.terminate()

    assert await statement(pinned_connection) != pid
    await given_back(two, pinned_connection)
    assert two.get_idle_size() == two.get_size() == 1


async def test_busy_workers_let_others_have_the_only_connection(start: Start) -> None:
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
