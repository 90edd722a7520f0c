"""A primary that dies under load, and the standby that takes its place."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from hephaestus_pg import AsyncStorage, DatabaseError, Instance, Names, migrations
from hephaestus_pg.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLERS = 40
SETTINGS = {"fsync": "off", "wal_level": "replica", "max_wal_senders": "4"}
STANDBY = "standby"
"""The standby's name in the primary's eyes."""

SILENCE = 0.3
"""Seconds before its end in which the primary sends nothing."""


class Pair:
    """A primary, and a standby that streams from it."""

    def __init__(self, primary: EmbeddedServer, standby: EmbeddedServer) -> None:
        self.primary = primary
        self.standby = standby

    @property
    def dsn(self) -> str:
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        return f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"


@pytest.fixture
def pair() -> Iterator[Pair]:
    binaries = os.environ.get("HEPHAESTUS_PG_TEST_BINARIES") or None
    with EmbeddedServer(settings=SETTINGS, binaries=binaries) as primary:
        if not (primary.binaries / "pg_basebackup").exists():
            pytest.skip(f"there is no pg_basebackup in {primary.binaries}")
        data = primary._home / "standby"
        subprocess.run(
            [
                primary.binaries / "pg_basebackup",
                *("--pgdata", data, "--write-recovery-conf", "--checkpoint", "fast", "--no-sync"),
                *("--dbname", f"host=127.0.0.1 port={primary.port} user=postgres"),
            ],
            check=True,
            capture_output=True,
            **primary._surroundings(),
        )
        source = f"host=127.0.0.1 port={primary.port} user=postgres application_name={STANDBY}"
        settings = {**SETTINGS, "primary_conninfo": source}
        with EmbeddedServer(settings=settings, binaries=binaries, data=data) as standby:
            yield Pair(primary, standby)


async def execute(server: EmbeddedServer, *statements: str) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def in_step(server: EmbeddedServer, state: str) -> int:
    """Wait until the standby streams, in that state of synchrony; the process that sends to it."""
    connection = await asyncpg.connect(server.dsn)
    try:
        async with asyncio.timeout(30):
            while True:
                sender: int | None = await connection.fetchval(
                    "SELECT pid FROM pg_stat_replication"
                    " WHERE state = 'streaming' AND sync_state = $1",
                    state,
                )
                if sender is not None:
                    return sender
                await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def kill(primary: EmbeddedServer, sender: int) -> None:
    """End the primary when it has not been able to send for a while, as by a network at its end."""
    os.kill(sender, signal.SIGSTOP)
    try:
        await asyncio.sleep(SILENCE)
        assert primary.pid is not None
        os.kill(primary.pid, signal.SIGKILL)
    finally:
        os.kill(sender, signal.SIGKILL)
    await asyncio.to_thread(primary.kill)


async def fail_over(pair: Pair, sender: int) -> tuple[set[str], set[str], Counter[str]]:
    """Kill the primary under load and promote the standby.

    The ids that were acknowledged, those of them that are gone, and how the calls ended.
    """
    acknowledged: set[str] = set()
    ended: Counter[str] = Counter()
    stop = asyncio.Event()

    async def write(caller: int) -> None:
        for number in count():
            if stop.is_set():
                return
            id = f"x::{caller}::{number}"
            try:
                await storage.put(Instance.new("W", {}, id=id))
            except DatabaseError as error:
                ended[f"{type(error).__name__}, applied {error.applied}"] += 1
            else:
                ended["ok"] += 1
                acknowledged.add(id)

    async def reached(successes: int) -> None:
        async with asyncio.timeout(30):
            while ended["ok"] < successes:
                await asyncio.sleep(0.01)

    async with AsyncStorage.start(pair.dsn, references=Names(), max_size=8, timeout=20) as storage:
        async with asyncio.TaskGroup() as group:
            for caller in range(CALLERS):
                group.create_task(write(caller))
            await reached(500)
            await kill(pair.primary, sender)
            await execute(pair.standby, "SELECT pg_promote()")
            await reached(ended["ok"] + 500)
            stop.set()
        lost = acknowledged - set(await storage.get_many(acknowledged))
    print(f"acknowledged {len(acknowledged)}, lost {len(lost)}, calls {dict(ended)}")
    return acknowledged, lost, ended


async def test_with_synchronous_replication_no_acknowledged_write_is_lost(pair: Pair) -> None:
    await migrations.up(pair.primary.dsn)
    await execute(
        pair.primary,
        f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'",
        "SELECT pg_reload_conf()",
    )
    sender = await in_step(pair.primary, "sync")

    _, lost, ended = await fail_over(pair, sender)

    assert lost == set()
    # A put may happen twice, so that the change of servers cost callers time, and nothing else.
    assert set(ended) == {"ok"}


async def test_without_it_what_the_primary_could_not_send_is_lost(pair: Pair) -> None:
    """That is the server's setting: how much was lost is printed, and nothing else is."""
    await migrations.up(pair.primary.dsn)
    sender = await in_step(pair.primary, "async")

    acknowledged, lost, ended = await fail_over(pair, sender)

    assert 0 < len(lost) < len(acknowledged)
    assert set(ended) == {"ok"}


async def test_a_standby_is_never_read_by_itself(pair: Pair) -> None:
    await migrations.up(pair.primary.dsn)
    await in_step(pair.primary, "async")
    hosts = f"127.0.0.1:{pair.standby.port},127.0.0.1:{pair.primary.port}"
    for wanted in ("", "?target_session_attrs=read-write", "?target_session_attrs=primary"):
        dsn = f"postgresql://postgres@{hosts}/postgres{wanted}"
        assert await migrations.migrated_version(dsn) == migrations.LATEST
        async with AsyncStorage.start(dsn, references=Names()) as storage:
            stored = await storage.put(Instance.new("W", {}, id=f"x::{wanted}"))
            assert await storage.get(stored.id) == stored
            async with storage.transaction() as transaction:
                there: Any = await transaction.connection.fetchval("SHOW port")
            assert int(there) == pair.primary.port


async def test_a_write_leaves_the_connections_to_a_demoted_primary(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They go on reading: only new ones come to what takes its place."""
    await migrations.up(database)
    name = urlsplit(database).path[1:]
    admin = await asyncpg.connect(
        database, server_settings={"default_transaction_read_only": "off"}
    )
    try:
        await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        async with AsyncStorage.start(database, references=Names(), max_size=3) as storage:
            async with storage.transaction(), storage.transaction(), storage.transaction():
                pass  # now all of them are connected
            write = asyncio.create_task(storage.put(Instance.new("W", {}, id="x")))
            async with asyncio.timeout(10):
                while "it is a standby, or was made one" not in caplog.text:
                    await asyncio.sleep(0.01)
            assert await storage.count() == 0
            await admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            async with asyncio.timeout(10):
                assert (await write).id == "x"
    finally:
        await admin.close()
