"""Whatever keeps a notification away: who waits has the last state within five seconds.

With the times that users have, and so of some seconds each.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

import hephaestus_pg
from hephaestus_pg import AsyncStorage, Names, migrations
from hephaestus_pg.embedded import EmbeddedServer
from hephaestus_pg.watch import listener
from tests.support.lag import happens, within
from tests.support.proxied import through
from tests.watch.conftest import done, waits
from tests.watch.test_watching import ECTO_UPSERT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.proxy import Proxy
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

SECONDS = 5.0
# Killed as soon as it has the answer, before it can tell anybody.
DYING = """
import asyncio, os, signal, sys
from hephaestus_pg import AsyncStorage, Instance, Names, Status

async def main():
    storage = await AsyncStorage.start(schema=sys.argv[1], references=Names())
    await storage.put(Instance("x", "Order", status=Status.COMPLETED))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.fixture
def asking() -> None:
    """As users have it."""


async def test_when_the_listening_connection_breaks(
    storage: AsyncStorage, other: AsyncStorage, pool: Pool
) -> None:
    task = await waits(other)
    # Not those of other tests, which may share the database.
    await pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE strpos(query, $1) > 0 AND pid <> pg_backend_pid()",
        storage.schema,
    )
    await happens(lambda: not other._subscription.is_listening)
    await storage.put(done())
    async with within(SECONDS):
        await task


async def test_when_it_is_cut_without_a_word(
    storage: AsyncStorage,
    other: AsyncStorage,
    dsn: str,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    way = through(dsn, proxy.port)
    monkeypatch.setattr(listener, "connect_beside", lambda _: asyncpg.connect(way))
    task = await waits(other)
    proxy.lose()
    await storage.put(done())
    async with within(SECONDS):
        await task
    proxy.heal()


async def test_when_all_connections_are_cut_without_a_word(
    storage: AsyncStorage, start: Start, dsn: str, proxy: Proxy
) -> None:
    far = await start(through(dsn, proxy.port), batching=False)
    await asyncio.gather(*(far.get(str(number)) for number in range(10)))
    task = await waits(far)
    assert len(proxy.paths) == 11
    proxy.lose()
    proxy.heal_new()
    await storage.put(done())
    async with within(8):  # until the pool's are replaced, each look has a dead one
        await task


async def test_behind_pgbouncer(storage: AsyncStorage, start: Start) -> None:
    async with start(pgbouncer=True) as behind:
        task = await waits(behind, listening=False)
        await storage.put(done())
        async with within(SECONDS):
            await task
        assert not behind._subscription.is_listening


async def test_when_the_writer_dies_before_it_tells(storage: AsyncStorage, dsn: str) -> None:
    task = await waits(storage)
    writer = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DYING, storage.schema),
        env={
            **os.environ,
            "HEPHAESTUS_PG_DSN": dsn,
            "PYTHONPATH": str(Path(hephaestus_pg.__file__).parents[1]),
        },
    )
    assert await writer.wait() == -signal.SIGKILL
    async with within(SECONDS):
        await task


async def test_when_the_ids_are_too_long_to_be_told(
    storage: AsyncStorage, other: AsyncStorage
) -> None:
    task = await waits(other)
    await storage.put_many([done(), *(done(f"{number}{'…' * 200}") for number in range(100))])
    async with within(SECONDS):
        await task


async def test_what_hephaestus_ecto_writes(storage: AsyncStorage, pool: Pool) -> None:
    task = await waits(storage)
    await pool.execute(ECTO_UPSERT.format(schema=storage.schema))
    async with within(SECONDS):
        await task


async def test_what_commits_in_a_transaction_of_the_users(
    storage: AsyncStorage, other: AsyncStorage, pool: Pool
) -> None:
    here, there = await waits(storage), await waits(other)
    async with pool.acquire() as connection, connection.transaction():
        await storage.using(connection).put(done())
        assert not here.done()
    async with within(SECONDS):
        await asyncio.gather(here, there)


async def test_what_is_written_on_a_connection_of_the_users_in_its_own_schema_only(
    storage: AsyncStorage, start: Start, dsn: str
) -> None:
    schema = f"{storage.schema}_b"
    await migrations.up(dsn, schema=schema)
    async with start(schema=schema) as elsewhere:
        here, there = await waits(storage), await waits(elsewhere)
        await elsewhere.put(done())
        async with within(SECONDS):
            await there
        assert not here.done()
        await storage.put(done())
        async with within(SECONDS):
            await here
    await migrations.down(dsn, schema=schema, version=0, allow_row_loss=True)


@pytest.fixture(scope="module")
def small_queue() -> Iterator[EmbeddedServer]:
    """A server whose queue of notifications is the smallest that there can be."""
    binaries = os.environ.get("HEPHAESTUS_PG_TEST_BINARIES") or None
    settings = {"fsync": "off", "max_notify_queue_pages": "64"}
    server = EmbeddedServer(settings=settings, binaries=binaries)
    told = subprocess.check_output((server.binaries / "postgres", "--version"), text=True)
    if int(re.findall(r"\d+", told)[0]) < 17:
        pytest.skip("the queue's size is a setting from PostgreSQL 17 on")
    with server:
        asyncio.run(migrations.up(server.dsn))
        yield server


@pytest.mark.once
async def test_when_the_queue_is_full(small_queue: EmbeddedServer) -> None:
    def start(name: str) -> Any:
        return AsyncStorage.start(small_queue.dsn, name=name, references=Names())

    holder, filler = [await asyncpg.connect(small_queue.dsn) for _ in range(2)]
    async with start("writer") as writer, start("reader") as reader:
        task = await waits(reader)
        await holder.execute("LISTEN others")  # in effect from its commit on
        await holder.execute("BEGIN; SELECT 1")
        with pytest.raises(asyncpg.ProgramLimitExceededError, match="too many notifications"):
            while True:
                await filler.execute("SELECT pg_notify('others', repeat('x', 7000))")
        async with within(SECONDS):
            await writer.put(done())
            await task
        await holder.execute("ROLLBACK")
        await holder.close()
        # The queue is emptied by then, and who waits is told again.
        task = asyncio.create_task(reader.wait("y"))
        await writer.put(done("y"))
        async with within(SECONDS):
            await task
    await filler.close()
