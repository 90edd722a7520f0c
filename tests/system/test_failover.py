"""A primary that dies under load, and the standby that takes its place."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    DatabaseError,
    Instance,
    Names,
    RejectedError,
    migrations,
)
from hephaestus_pg.driver.connector import connect
from hephaestus_pg.embedded import EmbeddedServer
from tests.chaos.proxy import Proxy
from tests.support.catalog import WAIT_SECONDS
from tests.support.lag import happens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator
    from pathlib import Path

CALLERS = 40
SETTINGS = {"fsync": "off", "wal_level": "replica", "max_wal_senders": "4"}
STANDBY = "standby"
"""The standby's name in the primary's eyes."""

SILENCE = 0.3
"""Seconds before its end in which the primary sends nothing, where nobody is answered meanwhile."""

LOST = 60
"""Writes that are begun and acknowledged meanwhile, where they can be."""


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
        data = primary._cluster.home / "standby"  # type: ignore[union-attr]
        subprocess.run(
            [
                primary.binaries / "pg_basebackup",
                *("--pgdata", data, "--write-recovery-conf", "--checkpoint", "fast", "--no-sync"),
                *("--dbname", f"host=127.0.0.1 port={primary.port} user=postgres"),
            ],
            check=True,
            capture_output=True,
            **primary._programs.process_options(),  # type: ignore[union-attr]
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
        async with asyncio.timeout(WAIT_SECONDS):
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


async def replayed(pair: Pair) -> None:
    """Wait until the standby has what the primary has now."""
    primary, standby = (
        await asyncpg.connect(pair.primary.dsn),
        await asyncpg.connect(pair.standby.dsn),
    )
    try:
        until = await primary.fetchval("SELECT pg_current_wal_lsn()::text")
        while await standby.fetchval("SELECT pg_last_wal_replay_lsn() < $1::text::pg_lsn", until):
            await asyncio.sleep(0.02)
    finally:
        await primary.close()
        await standby.close()


async def kill(primary: EmbeddedServer, sender: int, silence: Awaitable[None]) -> None:
    """End the primary when it has not been able to send for a while, as by a network at its end."""
    os.kill(sender, signal.SIGSTOP)
    try:
        await silence
        assert primary.pid is not None
        os.kill(primary.pid, signal.SIGKILL)
    finally:
        os.kill(sender, signal.SIGKILL)
    await asyncio.to_thread(primary.kill)


async def fail_over(
    pair: Pair, sender: int, *, synchronous: bool
) -> tuple[set[str], set[str], Counter[str]]:
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
        await happens(lambda: ended["ok"] >= successes)

    async with AsyncStorage.start(pair.dsn, references=Names(), max_size=8, timeout=60) as storage:
        async with asyncio.TaskGroup() as group:
            for caller in range(CALLERS):
                group.create_task(write(caller))
            await reached(500)
            unsent = ended["ok"] + CALLERS + LOST
            silence = asyncio.sleep(SILENCE) if synchronous else reached(unsent)
            await kill(pair.primary, sender, silence)
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

    _, lost, ended = await fail_over(pair, sender, synchronous=True)

    assert lost == set()
    # A put may happen twice, so that the change of servers cost callers time, and nothing else.
    assert set(ended) == {"ok"}


async def test_without_it_what_the_primary_could_not_send_is_lost(pair: Pair) -> None:
    """That is the server's setting: how much was lost is printed, and nothing else is."""
    await migrations.up(pair.primary.dsn)
    sender = await in_step(pair.primary, "async")

    acknowledged, lost, ended = await fail_over(pair, sender, synchronous=False)

    assert LOST <= len(lost) < len(acknowledged)
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


@pytest.mark.once
@pytest.mark.parametrize("where", ("dsn", "query", "service", "environment", "options"))
async def test_wherever_several_hosts_are_named_the_primary_is_taken(
    pair: Pair, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrations.up(pair.primary.dsn)
    await in_step(pair.primary, "async")
    hosts, ports = "127.0.0.1,127.0.0.1", f"{pair.standby.port},{pair.primary.port}"
    dsn: str | None = "postgresql://postgres@/postgres"
    options: dict[str, Any] = {}
    match where:
        case "dsn":
            named = f"127.0.0.1:{pair.standby.port},127.0.0.1:{pair.primary.port}"
            dsn = f"postgresql://postgres@{named}/postgres"
        case "query":
            dsn = f"{dsn}?host={hosts}&port={ports}"
        case "service":
            file = tmp_path / "services"
            file.write_text(f"[pair]\nhost={hosts}\nport={ports}\nuser=postgres\ndbname=postgres\n")
            monkeypatch.setenv("PGSERVICEFILE", str(file))
            dsn = "postgresql://?service=pair"
        case "environment":
            monkeypatch.setenv("PGHOST", hosts)
            monkeypatch.setenv("PGPORT", ports)
            monkeypatch.setenv("PGUSER", "postgres")
            monkeypatch.setenv("PGDATABASE", "postgres")
            dsn = None
        case "options":
            options = {"host": hosts.split(","), "port": [int(port) for port in ports.split(",")]}

    async def port() -> int:
        connection = await connect(dsn, **options)
        try:
            return int(await connection.fetchval("SHOW port"))
        finally:
            await connection.close()

    assert await port() == pair.primary.port
    async with AsyncStorage.start(dsn, references=Names(), **options) as storage:
        assert (await storage.put(Instance.new("W", {}, id="x"))).id == "x"
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "standby")
    assert await port() == pair.standby.port


async def test_a_write_leaves_the_connections_to_a_demoted_primary(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """They go on reading: only new ones come to what takes its place."""
    await migrations.up(pair.primary.dsn)
    await replayed(pair)
    leads_to = pair.standby.port  # as a name that moves
    async with Proxy(lambda: leads_to) as name:
        dsn = f"postgresql://postgres@127.0.0.1:{name.port}/postgres"
        async with AsyncStorage.start(dsn, references=Names(), max_size=3) as storage:
            async with storage.transaction(), storage.transaction(), storage.transaction():
                pass  # now all of them are connected
            write = asyncio.create_task(storage.put(Instance.new("W", {}, id="x")))
            await happens(lambda: "it is a standby, or was made one" in caplog.text)
            assert await storage.count() == 0
            leads_to = pair.primary.port
            assert (await write).id == "x"
            async with storage.transaction() as transaction:
                there: Any = await transaction.connection.fetchval("SHOW port")
            assert int(there) == pair.primary.port


async def test_a_primary_that_may_only_be_read_makes_way_for_one_that_may_be_written(
    pair: Pair,
) -> None:
    """Some set that on the old primary before they promote the standby."""
    await migrations.up(pair.primary.dsn)
    await replayed(pair)
    setting = "default_transaction_read_only"
    await execute(pair.primary, f"ALTER SYSTEM SET {setting} = on", "SELECT pg_reload_conf()")
    hosts = f"127.0.0.1:{pair.primary.port},127.0.0.1:{pair.standby.port}"
    dsn = f"postgresql://postgres@{hosts}/postgres"
    async with AsyncStorage.start(dsn, references=Names()) as storage:
        with pytest.raises(RejectedError, match=setting):
            await storage.put(Instance.new("W", {}, id="x"))
        assert await storage.count() == 0
        await execute(pair.standby, "SELECT pg_promote()")
    async with AsyncStorage.start(dsn, references=Names()) as storage:
        assert (await storage.put(Instance.new("W", {}, id="x"))).id == "x"
