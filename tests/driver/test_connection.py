"""Connections of our pool are reset after a caller had them, and end in bounded time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg.driver.connection import terminate
from tests.support.faults import pool_of
from tests.support.lag import happens
from tests.support.proxied import closing, through

if TYPE_CHECKING:
    import asyncpg

    from tests.chaos.proxy import Proxy
    from tests.support.starting import Start


@pytest.mark.parametrize(
    ("statement", "look", "clear"),
    (
        ("SET app.tenant = 'acme'", "SELECT current_setting('app.tenant', true)", {"", None}),
        ("SET search_path = pg_catalog", "SHOW search_path", {'"$user", public'}),
        ("SET statement_timeout = '1ms'", "SHOW statement_timeout", {"27000ms", "27001ms"}),
        ("SET SESSION AUTHORIZATION DEFAULT; SET ROLE pg_monitor", "SHOW role", {"none"}),
        ("LISTEN news", "SELECT count(*) FROM pg_listening_channels()", {0}),
        (
            "SELECT pg_advisory_lock(1909)",
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1909",
            {0},
        ),
    ),
)
async def test_session_state_left_by_a_caller_is_reset(
    start: Start, statement: str, look: str, clear: set[Any]
) -> None:
    async with start(max_size=1) as storage:
        async with storage.transaction() as tx:
            await tx.connection.execute(statement)
        async with storage.transaction() as tx:
            assert await tx.connection.fetchval(look) in clear


async def test_an_expired_connection_is_closed_in_bounded_time(
    dsn: str, start: Start, proxy: Proxy
) -> None:
    async with start(through(dsn, proxy.port), min_size=2, max_size=2) as storage:
        async with pool_of(storage).acquire():
            proxy.lose()
            proxy.heal()
            lost = set(proxy.paths)
            assert len(lost) == 2
            await pool_of(storage).expire_connections()
        await asyncio.gather(storage.count(), storage.count())
        left = closing()
        await happens(lambda: lost.isdisjoint(proxy.paths))
        await happens(lambda: not closing())
    for task in left:
        task.result()


async def test_a_released_connection_is_not_terminated(
    pool: asyncpg.Pool[asyncpg.Record],
) -> None:
    async with pool.acquire() as connection:
        pid = connection.get_server_pid()
    terminate(connection)
    assert await pool.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid) == 1


async def test_terminating_a_connection_twice_is_harmless(
    pool: asyncpg.Pool[asyncpg.Record],
) -> None:
    async with pool.acquire() as connection:
        terminate(connection)
        terminate(connection)
    assert await pool.fetchval("SELECT 1") == 1
