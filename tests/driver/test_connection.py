"""Connections of our pool are reset after a caller had them, and end in bounded time."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import anyio
import asyncpg
import psycopg
import pytest

from hephaestus_pg import AsyncStorage, Instance, InvalidTypeError
from hephaestus_pg.driver.connection import (
    MAX_TEXTS,
    PooledConnection,
    clean_up,
    is_in_transaction,
    terminate,
)
from tests.support.faults import pool_of
from tests.support.instances import shown
from tests.support.lag import happens
from tests.support.proxied import closing, through

if TYPE_CHECKING:
    from tests.chaos.proxy import Proxy
    from tests.support.starting import Start

HELD = """
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@pytest.mark.parametrize(
    ("statement", "look", "clear"),
    (
        ("SET app.tenant = 'acme'", "SELECT current_setting('app.tenant', true)", {"", None}),
        ("SET search_path = pg_catalog", "SHOW search_path", {'"$user", public'}),
        ("SET statement_timeout = '1ms'", "SHOW statement_timeout", {"27000ms", "27001ms"}),
        ("SET SESSION AUTHORIZATION DEFAULT; SET ROLE pg_monitor", "SHOW role", {"none"}),
        ("LISTEN news", "SELECT count(*) FROM pg_listening_channels()", {0}),
        ("SELECT pg_advisory_lock(1909)", HELD.replace("$1", "1909"), {0}),
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


async def test_codecs_and_loggers_left_by_a_caller_are_gone(start: Start) -> None:
    look = "SELECT pg_backend_pid(), '{}'::jsonb, 1::int8"
    logged: list[str] = []
    async with start(max_size=1) as storage:
        async with storage.transaction() as tx:
            await tx.connection.set_type_codec(
                "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
            )
            await tx.connection.set_builtin_type_codec(
                "int8", schema="pg_catalog", codec_name="text", format="text"
            )
            await tx.connection.execute("CREATE TYPE public.transient AS ENUM ('a')")
            await tx.connection.set_type_codec("transient", encoder=str, decoder=str)
            await tx.connection.execute("DROP TYPE public.transient")
            tx.connection.add_query_logger(lambda query: logged.append(query.query))
            [[pid, *theirs]] = await tx.connection.fetch(look)
            assert theirs == [{}, "1"]
        await storage.put(Instance.new("Order", {}, id="a"))
        async with storage.transaction() as tx:
            assert await tx.connection.fetch(look) == [(pid, "{}", 1)]
    assert logged.count(look) == 1


async def test_a_connection_at_rest_is_given_back_without_a_task(start: Start) -> None:
    made: list[Any] = []

    def make(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    async with start(max_size=1) as storage:
        pool = pool_of(storage)
        await storage.get("a")
        asyncio.get_running_loop().set_task_factory(make)
        try:
            await storage.get("a")
            assert not made
            async with storage.transaction() as tx:
                await tx.get("a")
            assert len(made) == 1  # which resets the session
        finally:
            asyncio.get_running_loop().set_task_factory(None)
        assert (pool.get_size(), pool.get_idle_size()) == (1, 1)


async def test_who_waits_for_a_connection_comes_before_the_next_call(start: Start) -> None:
    calls = {"a": 0, "b": 0}

    async def caller(id: str) -> None:
        while min(calls.values()) < 20 and calls[id] < 200:
            await storage.get(id)
            calls[id] += 1

    async with start(max_size=1, batching=False) as storage:
        await asyncio.gather(*map(caller, calls))
    assert max(calls.values()) < 200


async def test_what_is_cancelled_again_while_its_statement_ends_costs_no_connection(
    start: Start, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    async with start(max_size=1) as storage:
        await storage.put(Instance.new("W", {}, id="a"))
        pid = await pool_of(storage).fetchval("SELECT pg_backend_pid()")
        async with pool.acquire() as other, other.transaction():
            table = f"{storage.schema}.workflow_instances"
            await other.execute(f"SELECT FROM {table} WHERE id = 'a' FOR UPDATE")
            call = asyncio.create_task(storage.put(Instance.new("W", {}, id="a")))
            waits = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
            while not await pool.fetchval(waits, pid):
                await asyncio.sleep(0.001)
            while not call.done():
                call.cancel()
                await asyncio.sleep(0)
        assert await pool_of(storage).fetchval("SELECT pg_backend_pid()") == pid


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


async def test_what_is_cleaned_up_too_slowly_ends_with_its_connection(
    pool: asyncpg.Pool[asyncpg.Record],
) -> None:
    async with pool.acquire() as connection:
        await clean_up(connection, lambda: connection.execute("SELECT 1"), seconds=5)
        assert await connection.fetchval("SELECT 1") == 1
        await clean_up(connection, lambda: asyncio.sleep(60), seconds=0.05)
        with pytest.raises(asyncpg.InterfaceError):
            await connection.execute("SELECT 1")


async def test_a_cancel_does_not_keep_from_cleaning_up(
    pool: asyncpg.Pool[asyncpg.Record],
) -> None:
    scope, locked = anyio.CancelScope(), asyncio.Event()
    async with pool.acquire() as connection:

        async def unlock() -> None:
            await connection.execute("SELECT 1")  # where a cancel would strike: before the next
            await connection.execute("SELECT pg_advisory_unlock(1910)")

        async def hold() -> None:
            with scope:
                await connection.execute("SELECT pg_advisory_lock(1910)")
                try:
                    locked.set()
                    await asyncio.sleep(60)
                finally:
                    await clean_up(connection, unlock, seconds=5)

        task = asyncio.create_task(hold())
        await locked.wait()
        assert await pool.fetchval(HELD, 1910) == 1
        scope.cancel()
        await task
        assert scope.cancelled_caught
        assert await pool.fetchval(HELD, 1910) == 0
        assert not connection.is_closed()


class TestUsing:
    @pytest.mark.parametrize("given", (None, "postgresql://", 5, object()), ids=shown)
    async def test_what_is_no_connection_is_refused(
        self, storage: AsyncStorage, given: Any
    ) -> None:
        with pytest.raises(InvalidTypeError, match="^connection is .*give a connection of asyncpg"):
            storage.using(given)

    async def test_a_pool_is_told_to_give_one(
        self, storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record]
    ) -> None:
        with pytest.raises(InvalidTypeError, match=r"async with pool.acquire\(\) as connection"):
            storage.using(pool)  # type: ignore[arg-type]
        async with pool.acquire() as connection:
            assert await storage.using(connection).count() == 0

    async def test_what_was_not_awaited_says_so(
        self, storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record], dsn: str
    ) -> None:
        connecting = asyncpg.connect(dsn)
        for given in (pool.acquire(), connecting):
            with pytest.raises(InvalidTypeError, match="await this one"):
                storage.using(given)  # type: ignore[arg-type]
        connecting.close()

    async def test_verbs_are_no_connection(self, storage: AsyncStorage) -> None:
        async with storage.transaction() as transaction:
            for given in (storage, transaction):
                with pytest.raises(InvalidTypeError):
                    storage.using(given)  # type: ignore[arg-type]
            assert await storage.using(transaction.connection).count() == 0

    async def test_a_connection_of_psycopg_is_refused(
        self, storage: AsyncStorage, dsn: str
    ) -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            with pytest.raises(InvalidTypeError, match="of asyncpg"):
                storage.using(connection)  # type: ignore[arg-type]

    async def test_sqlalchemys_says_how_to_get_the_raw_one(
        self, storage: AsyncStorage, dsn: str
    ) -> None:
        pytest.importorskip("greenlet")
        from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

        engine = create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://"))
        try:
            async with engine.connect() as connection, AsyncSession(engine) as session:
                raw = await connection.get_raw_connection()
                for given, way in (
                    (connection, r"get_raw_connection\(\)\).driver_connection"),
                    (session, r"await \(await session.connection\(\)\).get_raw_connection"),
                    (raw, "its driver_connection"),
                    (raw.dbapi_connection, "its driver_connection"),
                    (connection.sync_connection, "of asyncpg"),
                ):
                    with pytest.raises(InvalidTypeError, match=way):
                        storage.using(given)  # type: ignore[arg-type]
                assert raw.driver_connection is not None
                assert await storage.using(raw.driver_connection).count() == 0
        finally:
            await engine.dispose()


async def test_a_connection_of_an_asyncpg_that_is_otherwise_inside_goes_back_at_once(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PooledConnection, "is_current", False)
    for _ in range(20):
        assert await storage.get("x") is None
        assert pool_of(storage).get_idle_size() == pool_of(storage).get_size() > 0


async def test_a_connection_that_no_pool_answers_for_is_not_current(dsn: str) -> None:
    connection = await asyncpg.connect(dsn, connection_class=PooledConnection)
    assert not connection.is_current
    assert not connection.is_at_rest
    await connection.close()
    assert not connection.is_at_rest


async def test_a_connection_knows_the_statements_that_it_was_last_used_for(dsn: str) -> None:
    connection = await asyncpg.connect(dsn, connection_class=PooledConnection)
    for n in range(MAX_TEXTS):
        connection.note(f"SELECT {n}")
    connection.note("SELECT 0")
    connection.note("SELECT 1000")
    assert len(connection.texts) == MAX_TEXTS
    assert "SELECT 0" in connection.texts
    assert "SELECT 1" not in connection.texts
    await connection.close()


async def test_a_connection_is_in_a_transaction_until_it_ends_or_is_given_back(dsn: str) -> None:
    async with asyncpg.create_pool(dsn, min_size=1) as pool:
        async with pool.acquire() as connection:
            assert not is_in_transaction(connection)
            async with connection.transaction():
                assert is_in_transaction(connection)
            assert not is_in_transaction(connection)
            await connection.execute("BEGIN")
            assert is_in_transaction(connection)
        assert not is_in_transaction(connection)
        async with pool.acquire() as connection:
            await connection.execute("BEGIN")
            terminate(connection)
            assert not is_in_transaction(connection)
