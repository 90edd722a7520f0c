"""The seeded schedule of faults, and how each is done to a server and the proxy before it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg import migrations
from hephaestus_pg.embedded import EmbeddedServer
from tests.chaos.proxy import HOST, Proxy
from tests.support import citus
from tests.support.cluster import cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

SETTINGS = {"fsync": "off", "idle_in_transaction_session_timeout": "5s"}
SCHEMA = "chaos"


@dataclass(frozen=True, slots=True)
class Fault:
    """``pause`` seconds after the last one, for ``seconds``, to a ``share`` of what there is."""

    kind: str
    pause: float
    seconds: float
    share: float

    def __str__(self) -> str:
        return f"{self.kind} +{self.pause:.2f} {self.seconds:.2f}s {self.share:.0%}"


def schedule(seed: int, kinds: Sequence[str]) -> Iterator[Fault]:
    """Faults of these kinds without end; the same ones for the same seed."""
    chance = random.Random(seed)
    turn = list(kinds)
    while True:
        chance.shuffle(turn)  # each comes once before any comes again
        for kind in turn:
            yield Fault(
                kind,
                pause=round(chance.uniform(0.05, 0.6), 2),
                seconds=round(chance.uniform(0.05, 1.5), 2),
                share=round(chance.uniform(0.1, 1), 2),
            )


class Arena:
    """A server, the proxy before it, and what can be done to them.

    The server of a cluster is its coordinator; beside it there are ``workers``.
    """

    def __init__(
        self, server: EmbeddedServer, proxy: Proxy, seed: int, workers: Sequence[EmbeddedServer]
    ) -> None:
        self.server = server
        self.proxy = proxy
        self._workers = workers
        self._chance = random.Random(seed)

    @property
    def dsn(self) -> str:
        """The DSN that leads through the proxy."""
        return f"postgresql://postgres@{HOST}:{self.proxy.port}/postgres"

    async def suffer(self, fault: Fault) -> None:
        """Do the fault, wait for as long as it lasts, and heal it, whatever happens."""
        try:
            await {**KINDS, **OF_WORKERS}[fault.kind](self, fault)
        finally:
            self.proxy.heal()

    async def _kill(self, fault: Fault) -> None:
        await asyncio.to_thread(self.server.kill)
        await self._start(fault)

    async def _restart_fast(self, fault: Fault) -> None:
        await asyncio.to_thread(self.server.stop, "fast")
        await self._start(fault)

    async def _restart_immediate(self, fault: Fault) -> None:
        await asyncio.to_thread(self.server.stop, "immediate")
        await self._start(fault)

    async def _start(self, fault: Fault) -> None:
        await asyncio.sleep(fault.seconds / 2)
        await asyncio.to_thread(self.server.start)

    async def _kill_worker(self, fault: Fault) -> None:
        worker = self._chance.choice(self._workers)
        await asyncio.to_thread(worker.kill)
        await asyncio.sleep(fault.seconds / 2)
        await asyncio.to_thread(worker.start)

    async def _restart_worker(self, fault: Fault) -> None:
        worker = self._chance.choice(self._workers)
        await asyncio.to_thread(worker.stop, "fast")
        await asyncio.sleep(fault.seconds / 2)
        await asyncio.to_thread(worker.start)

    async def _terminate(self, fault: Fault) -> None:
        async with self.admin() as admin:
            for backend in self._some(await self._backends(admin), fault.share):
                await admin.execute("SELECT pg_terminate_backend($1::integer)", backend)

    async def _freeze(self, fault: Fault) -> None:
        async with self._frozen():
            await asyncio.sleep(fault.seconds)

    async def _freeze_and_drop(self, fault: Fault) -> None:
        """What the frozen one was sent, it does when its client has long gone elsewhere."""
        async with self._frozen():
            await asyncio.sleep(_SENDING)
            self.proxy.drop(self.proxy.paths)
            await asyncio.sleep(fault.seconds)

    async def _drop(self, fault: Fault) -> None:
        self.proxy.drop(self._some(self.proxy.paths, fault.share))

    async def _half_close(self, fault: Fault) -> None:
        self.proxy.half_close(self._some(self.proxy.paths, fault.share))

    async def _delay(self, fault: Fault) -> None:
        self.proxy.latency = fault.share / 5
        await asyncio.sleep(fault.seconds)

    async def _stall(self, fault: Fault) -> None:
        self.proxy.stall()
        await asyncio.sleep(fault.seconds)

    async def _lose(self, fault: Fault) -> None:
        self.proxy.lose()
        await asyncio.sleep(fault.seconds)

    @asynccontextmanager
    async def _frozen(self) -> AsyncIterator[None]:
        """One backend, at work if any is, that stands still for as long as the block runs."""
        async with self.admin() as admin:
            backends = await self._backends(admin, "active") or await self._backends(admin)
            pid = self._chance.choice(backends) if backends else None
        try:
            if pid is not None:
                _signal(pid, signal.SIGSTOP)
            yield
        finally:
            if pid is not None:
                _signal(pid, signal.SIGCONT)

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """A connection that does not lead through the proxy."""
        connection = await asyncpg.connect(self.server.dsn, timeout=10)
        try:
            yield connection
        finally:
            await connection.close(timeout=10)

    async def _backends(self, admin: asyncpg.Connection[Any], state: str = "%") -> list[int]:
        rows = await admin.fetch(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND state LIKE $1 AND pid <> pg_backend_pid() ORDER BY pid",
            state,
        )
        return [row["pid"] for row in rows]

    def _some(self, things: Sequence[Any], share: float) -> list[Any]:
        return self._chance.sample(things, round(len(things) * share))


KINDS: dict[str, Callable[[Arena, Fault], Awaitable[None]]] = {
    "kill": Arena._kill,
    "restart fast": Arena._restart_fast,
    "restart immediate": Arena._restart_immediate,
    "terminate": Arena._terminate,
    "freeze": Arena._freeze,
    "freeze and drop": Arena._freeze_and_drop,
    "drop": Arena._drop,
    "half-close": Arena._half_close,
    "delay": Arena._delay,
    "stall": Arena._stall,
    "lose": Arena._lose,
}


OF_WORKERS: dict[str, Callable[[Arena, Fault], Awaitable[None]]] = {
    "kill worker": Arena._kill_worker,
    "restart worker": Arena._restart_worker,
}
"""What a cluster can suffer beside that."""


@asynccontextmanager
async def started(seed: int, distributed: str = "") -> AsyncIterator[Arena]:
    """A server of the run's own with the schema, and the proxy; both end with the block.

    With ``distributed``, ``schema`` or ``id``, it is a Citus cluster, that has the schema so.
    """
    binaries = os.environ.get("HEPHAESTUS_PG_TEST_BINARIES") or None
    with ExitStack() as stack:
        workers: Sequence[EmbeddedServer] = ()
        if distributed:
            # The promise is that of servers that wait for the disk.
            made = stack.enter_context(cluster({**SETTINGS, "fsync": "on"}))
            server, workers = made.coordinator, made.workers
        else:
            server = stack.enter_context(EmbeddedServer(settings=SETTINGS, binaries=binaries))
        await migrations.up(server.dsn, schema=SCHEMA)
        if distributed:
            await _distribute(server, distributed)
        async with Proxy(lambda: server.port) as proxy:
            yield Arena(server, proxy, seed, workers)


async def _distribute(server: EmbeddedServer, how: str) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        for statement in citus.distributing(SCHEMA, how):
            await connection.execute(statement)
    finally:
        await connection.close()


_SENDING = 0.05
"""Seconds in which a frozen backend is still sent statements."""


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
