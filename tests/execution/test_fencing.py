"""A connection breaks unnoticed by its backend, which wakes up later with a statement in hand."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    ConnectionLostError,
    Instance,
    Names,
    migrations,
)
from hephaestus_pg.driver.errors import DRIVER_ERRORS
from hephaestus_pg.embedded import EmbeddedServer
from hephaestus_pg.execution.fencing import Backend
from hephaestus_pg.execution.statements import statements_of
from tests.chaos.proxy import Proxy
from tests.support.catalog import until
from tests.support.lag import happens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator

FIRST = Instance("orderid::1", "Order", runtime_metadata={"stage": 1})
SECOND = replace(FIRST, runtime_metadata={"stage": 2})
THIRD = replace(FIRST, runtime_metadata={"stage": 3})


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """A server whose processes are on this machine, so that they can be frozen."""
    binaries = os.environ.get("HEPHAESTUS_PG_TEST_BINARIES") or None
    with EmbeddedServer(settings={"fsync": "off"}, binaries=binaries) as running:
        yield running


class Broken:
    """A storage by way of a proxy, and its backends, which can be frozen and cut off."""

    def __init__(self, storage: AsyncStorage, proxy: Proxy, direct: Any) -> None:
        self.storage = storage
        self._proxy = proxy
        self._direct = direct
        self._frozen: list[int] = []

    async def frozen_and_cut(self, write: Awaitable[Any]) -> asyncio.Task[Any]:
        """The write under way on backends that stand still, its connection gone."""
        self._frozen = [
            row["pid"]
            for row in await self._direct.fetch(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'fenced'"
            )
        ]
        self._signal(signal.SIGSTOP)
        sent = self._proxy.sent
        task = asyncio.ensure_future(write)
        await happens(lambda: self._proxy.sent > sent)
        self._proxy.drop(self._proxy.paths)
        return task

    async def thaw(self) -> None:
        """Let the backends go on, until they are gone."""
        self._signal(signal.SIGCONT)
        await until(
            self._direct,
            "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ANY($1::integer[])",
            self._frozen,
        )
        self._frozen = []

    def _signal(self, number: int) -> None:
        for pid in self._frozen:
            os.kill(pid, number)

    def release(self) -> None:
        self._signal(signal.SIGCONT)


@pytest.fixture(params=(True, False), ids=("batching", "plain"))
async def broken(request: pytest.FixtureRequest, server: EmbeddedServer) -> AsyncIterator[Broken]:
    await migrations.up(server.dsn)
    direct = await asyncpg.connect(server.dsn)
    await direct.execute("TRUNCATE workflow_instances")
    async with (
        Proxy(lambda: server.port) as proxy,
        AsyncStorage.start(
            f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres",
            references=Names(),
            batching=request.param,
            max_size=4,
            server_settings={"application_name": "fenced"},
        ) as storage,
    ):
        given = Broken(storage, proxy, direct)
        try:
            yield given
        finally:
            given.release()
    await direct.close()


async def test_a_late_put_does_not_undo_a_newer_one(broken: Broken) -> None:
    storage = broken.storage
    await storage.put(FIRST)
    second = await broken.frozen_and_cut(storage.put(SECOND))
    done, _ = await asyncio.wait([second], timeout=1)
    if not done:  # it waits for the backend to be gone
        await broken.thaw()
    await second

    third = await storage.put(THIRD)

    if done:
        await broken.thaw()
    assert await storage.get(FIRST.id) == third


async def test_an_insert_that_lands_late_is_not_refused(broken: Broken) -> None:
    storage = broken.storage
    await storage.get(FIRST.id)
    inserted = await broken.frozen_and_cut(storage.insert(FIRST))
    await asyncio.wait([inserted], timeout=1)
    await broken.thaw()

    stored = await inserted
    assert await storage.get(FIRST.id) == stored


async def test_while_the_backend_cannot_end_the_outcome_is_unknown(broken: Broken) -> None:
    storage = broken.storage
    await storage.put(FIRST)
    second = await broken.frozen_and_cut(storage.put(SECOND, timeout=3))

    with pytest.raises(ConnectionLostError) as caught:
        await second
    assert caught.value.applied == "unknown"
    assert not caught.value.retryable
    await broken.thaw()
    found = await storage.get(FIRST.id)
    assert found is not None
    assert found.runtime_metadata["stage"] in {1, 2}


async def test_a_read_does_not_wait_for_the_backend(broken: Broken) -> None:
    storage = broken.storage
    put = await storage.put(FIRST)
    read = await broken.frozen_and_cut(storage.get(FIRST.id))

    assert await read == put


async def test_a_session_that_began_later_is_not_taken_for_the_one_that_broke(
    storage: AsyncStorage, dsn: str
) -> None:
    now = asyncio.get_running_loop().time()
    other = await asyncpg.connect(dsn)
    statement = statements_of(storage.schema).terminate_backend
    async with storage.transaction() as transaction:
        connection = transaction.connection
        # Its id, at a moment at which it did not run: another's, and ours is gone.
        before = Backend(other.get_server_pid(), now - 60)
        assert await before.terminate(connection, statement, now) is True
        assert await other.fetchval("SELECT 1") == 1

        same = Backend.behind(other, asyncio.get_running_loop().time())
        assert await same.terminate(connection, statement, same.since) is False
        with pytest.raises(DRIVER_ERRORS):
            for _ in range(1000):
                await other.fetchval("SELECT 1")
    await other.close()


async def test_a_backend_that_lives_is_not_taken_for_ended_under_another_role(
    storage: AsyncStorage, dsn: str, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    """As a tenant's ``setup`` hook sets one."""
    role = f"tenant_{storage.schema}"
    await pool.execute(f"CREATE ROLE {role}")
    other = await asyncpg.connect(dsn)
    backend = Backend.behind(other, asyncio.get_running_loop().time() - 60)
    statement = statements_of(storage.schema).terminate_backend
    try:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(f"SET LOCAL ROLE {role}")
            now = asyncio.get_running_loop().time() + 60  # a long while later
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await backend.terminate(connection, statement, now)
        assert await other.fetchval("SELECT 1") == 1
    finally:
        await other.close()
        await pool.execute(f"DROP ROLE {role}")


async def test_a_connection_of_our_own_pool_is_known_by_its_age(storage: AsyncStorage) -> None:
    async with storage.transaction() as transaction:
        now = asyncio.get_running_loop().time()
        assert Backend.behind(transaction.connection, now + 100).since <= now


async def test_a_server_that_names_no_backend_leaves_the_outcome_unknown(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = asyncpg.Connection.fetch
    calls = 0

    async def cut(this: Any, text: str, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        if "INSERT" not in text:
            return await real(this, text, *arguments, **options)
        calls += 1
        raise ConnectionResetError

    monkeypatch.setattr(asyncpg.Connection, "fetch", cut)
    monkeypatch.setattr(asyncpg.Connection, "get_server_pid", lambda _: 0)
    with pytest.raises(ConnectionLostError) as caught:
        await storage.put(FIRST)
    assert caught.value.applied == "unknown"
    assert calls == 1
