"""What is worked around in asyncpg. A test that passes tells that a workaround may go."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest

from hephaestus_pg import AsyncStorage, Names
from tests.chaos.proxy import Proxy

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


async def keep_session(_: object) -> None:
    """No reset, as in a pool of ours."""


@pytest.mark.xfail(
    strict=True,
    raises=asyncpg.InternalClientError,
    reason="MagicStack/asyncpg#1069; driver_errors.translated calls this error a lost connection",
)
async def test_a_connection_that_died_idle_is_said_to_be_lost(
    dsn: str, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=1, reset=keep_session) as small:
        for _ in range(50):  # it depends on who is first
            pid = await small.fetchval("SELECT pg_backend_pid()")
            await pool.execute("SELECT pg_terminate_backend($1)", pid)
            with suppress(asyncpg.PostgresConnectionError, asyncpg.InterfaceError):
                await small.fetchval("SELECT 1")


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
        async with pool.acquire() as connection:
            connection.terminate()
        await asyncio.sleep(0.1)  # for it to connect in vain
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
        await pool.fetchval("SELECT 1", timeout=5)
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
        async with storage._pool.connection():
            proxy.lose()
            proxy.heal()
            await storage._pool._pool.expire_connections()
        await asyncio.gather(storage.count(), storage.count())
        left = closing()
        assert left
        async with asyncio.timeout(10):
            await asyncio.wait(left)
    for task in left:
        task.result()
