"""What is worked around in asyncpg. A test that passes tells that a workaround may go."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    Names,
)
from tests.chaos.proxy import Proxy
from tests.support.lag import happens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def proxy(dsn: str) -> AsyncIterator[Proxy]:
    parts = urlsplit(dsn)
    if parts.hostname not in {"127.0.0.1", "localhost"}:
        pytest.skip("the proxy leads to a server on this machine only")
    async with Proxy(lambda: parts.port or 5432) as proxy:
        yield proxy


def through(dsn: str, *ports: int) -> str:
    parts = urlsplit(dsn)
    user = parts.netloc.rpartition("@")[0]
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return parts._replace(netloc=f"{user}@{hosts}").geturl()


@asynccontextmanager
async def last_words(dsn: str) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A port that leads to the server, and tells of its last words but not that it has hung up.

    And what is set once it has: on its way that news may always be a little later.
    """
    over = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", urlsplit(dsn).port or 5432)
        sending = asyncio.create_task(pass_on(reader, to_server))
        await pass_on(server, writer)
        over.set()
        await sending
        to_server.close()
        writer.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(2**16):
                writer.write(data)

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1], over


@pytest.mark.xfail(
    strict=True,
    raises=asyncpg.InternalClientError,
    reason="MagicStack/asyncpg#1069; driver_errors.translated calls this error a lost connection",
)
async def test_a_connection_that_died_idle_is_said_to_be_lost(
    dsn: str, proxy: Proxy, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    async with last_words(dsn) as (port, over):
        connection = await asyncpg.connect(through(dsn, port))
        try:
            await pool.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
            await over.wait()
            for _ in range(10):  # until they are read
                await asyncio.sleep(0)
            with suppress(asyncpg.PostgresConnectionError, asyncpg.InterfaceError):
                await connection.fetchval("SELECT 1")
        finally:
            connection.terminate()
            await happens(lambda: len(asyncio.all_tasks()) == 1)


@pytest.mark.xfail(
    strict=True,
    raises=TimeoutError,
    reason="MagicStack/asyncpg#1155; hosts.py tries each host by itself",
)
async def test_a_silent_host_leaves_time_for_the_next(dsn: str, proxy: Proxy) -> None:
    proxy.stall()
    own = urlsplit(dsn).port or 5432
    await (await asyncpg.connect(through(dsn, proxy.port, own), timeout=1)).close()


@pytest.mark.xfail(
    strict=True,
    raises=TimeoutError,
    reason="MagicStack/asyncpg#1326; PoolExecutor terminates a connection at its deadline",
)
async def test_asking_to_cancel_on_a_silent_network_ends(
    dsn: str, proxy: Proxy, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    connection = await asyncpg.connect(through(dsn, proxy.port))
    pid = connection.get_server_pid()
    try:
        proxy.stall()
        with suppress(TimeoutError):
            await connection.execute("SELECT pg_sleep(60)", timeout=0.1)
        async with asyncio.timeout(2):
            await connection.close(timeout=0.1)
    finally:
        await pool.execute("SELECT pg_terminate_backend($1, 5000)", pid)
        connection.terminate()
        proxy.heal()


@pytest.mark.xfail(
    strict=True,
    raises=TimeoutError,
    reason="seen in asyncpg 0.32; pool._POOL_DEFAULTS have it keep up no number of connections",
)
async def test_a_pool_that_restores_its_floor_leaves_the_slot_free(dsn: str, proxy: Proxy) -> None:
    async with asyncpg.create_pool(through(dsn, proxy.port), min_size=1, max_size=1) as pool:
        proxy.lose()
        before = set(proxy.paths)
        async with pool.acquire() as connection:
            connection.terminate()
        await happens(lambda: set(proxy.paths) - before)  # it connects in vain
        proxy.heal()
        async with asyncio.timeout(2):
            await pool.fetchval("SELECT 1")


def closing() -> set[asyncio.Task[object]]:
    """The tasks in which a pool closes connections."""
    return {task for task in asyncio.all_tasks() if "Connection.close" in repr(task.get_coro())}


@pytest.mark.xfail(
    strict=True,
    raises=TimeoutError,
    reason="seen in asyncpg 0.32; pool._Connection has a timeout where the pool gives none",
)
async def test_an_expired_connection_is_closed_on_a_silent_network(dsn: str, proxy: Proxy) -> None:
    async with asyncpg.create_pool(through(dsn, proxy.port), min_size=1, max_size=1) as pool:
        proxy.lose()
        proxy.heal()
        await pool.expire_connections()
        await pool.fetchval("SELECT 1", timeout=60)
        left = closing()
        assert left
        try:
            async with asyncio.timeout(2):
                await asyncio.wait(left)
        finally:
            for task in left:
                task.cancel()


async def test_a_storage_gives_up_what_has_expired(dsn: str, migrated: str, proxy: Proxy) -> None:
    async with AsyncStorage.start(
        through(dsn, proxy.port), schema=migrated, references=Names(), min_size=2, max_size=2
    ) as storage:
        async with storage._pool._pool.acquire():
            proxy.lose()
            proxy.heal()
            lost = set(proxy.paths)
            assert len(lost) == 2
            await storage._pool._pool.expire_connections()
        await asyncio.gather(storage.count(), storage.count())
        left = closing()
        await happens(lambda: lost.isdisjoint(proxy.paths))
        await happens(lambda: not closing())
    for task in left:
        task.result()
