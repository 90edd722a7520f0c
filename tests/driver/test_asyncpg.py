"""Faults of asyncpg that are worked around; a test that passes means a workaround may go."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.lag import happens
from tests.support.proxied import closing, through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.chaos.proxy import Proxy


@asynccontextmanager
async def last_words(dsn: str) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A port that passes on what the server says, but not that it has closed the connection.

    The event is set once it has: on a real network that news may always come a little later.
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
    reason="MagicStack/asyncpg#1069; driver.errors.translate calls this error a lost connection",
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
    reason="MagicStack/asyncpg#1155; Connector tries each host by itself",
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
    reason="seen in asyncpg 0.32; pool._DEFAULTS have it keep up no number of connections",
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


@pytest.mark.xfail(
    strict=True,
    raises=TimeoutError,
    reason="seen in asyncpg 0.32; PooledConnection has a timeout where the pool gives none",
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
