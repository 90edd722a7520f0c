"""The runners' processes: started, heard, killed, frozen past their lease, and replaced."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from hephaestus_pg import HephaestusError
from hephaestus_pg.demo.checks import lost
from hephaestus_pg.demo.witness import Work

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable

    from hephaestus_pg import AsyncStorage, RunnerInfo

FROZEN_LEASES = 1.5
"""How long a runner is frozen, in leases."""


class Orphan(NamedTuple):
    """An order whose owner was killed or frozen."""

    owner: int
    since: float


class Processes:
    """Keeps runners at work, each a process of its own, and writes down what they say.

    Args:
        storage: Where the orders are.
        dsn: Its server.
        lease: The runners'.
        say: Prints a line about an event.
    """

    def __init__(
        self, storage: AsyncStorage, dsn: str, *, lease: float, say: Callable[[str], None]
    ) -> None:
        self._storage = storage
        self._dsn = dsn
        self._lease = lease
        self._say = say
        self._numbers = count(1)
        self._running: dict[int, Process] = {}
        self._orphans: dict[str, Orphan] = {}
        self._is_stopping = False
        self.acknowledged: list[Work] = []
        self.lost: list[Work] = []
        """Acknowledged steps that the table did not have after a kill."""
        self.ended: set[int] = set()
        """Runners that were killed or frozen, or whose lease ended otherwise."""
        self.kills = 0
        self.freezes = 0
        self.expired = 0
        """Runners whose lease ended though nobody froze them, as on a machine that is too busy."""
        self.waits: list[float] = []
        """Seconds from the end of an order's owner until another runner had it, for each."""

    async def keep_one(self) -> None:
        """Starts one runner after another until :meth:`stop`.

        Raises:
            HephaestusError: One has ended by itself.
        """
        while not self._is_stopping:
            await self._run_one(next(self._numbers))
            acknowledged = list(self.acknowledged)
            self.lost += lost(acknowledged, await self._storage.query())

    async def kill(self) -> None:
        """Kills the runner that owns the most."""
        await self._hit(signal.SIGKILL, "killed")
        self.kills += 1

    async def freeze(self) -> None:
        """Freezes the runner that owns the most past its lease, and lets it go on then."""
        process = await self._hit(signal.SIGSTOP, "frozen")
        await asyncio.sleep(FROZEN_LEASES * self._lease)
        _send(process, signal.SIGCONT)
        self.freezes += 1

    def stop(self) -> None:
        """Lets every runner end in its own order; none is replaced any more."""
        self._is_stopping = True
        for process in self._running.values():
            _send(process, signal.SIGTERM)
            _send(process, signal.SIGCONT)  # frozen, it would not hear that it is to stop

    async def _run_one(self, runner: int) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hephaestus_pg.demo.runner"),
            *(self._storage.schema, str(runner), str(self._lease)),
            env=os.environ | {"HEPHAESTUS_PG_DSN": self._dsn},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # Ctrl-C on the terminal is for the supervisor, which ends the runner. In a session of
            # its own a frozen one would stay if the supervisor were killed.
            process_group=0,
        )
        assert process.stdout is not None
        self._running[runner] = process
        try:
            if self._is_stopping:  # since before it was there to be told
                _send(process, signal.SIGTERM)
            # What it said before it was killed counts, so it is read to the end.
            async for line in process.stdout:
                self._hear(runner, line.decode())
        except BaseException:
            _send(process, signal.SIGKILL)
            raise
        finally:
            code = await process.wait()
            del self._running[runner]
        if code == os.EX_TEMPFAIL and runner not in self.ended:
            self.ended.add(runner)
            self.expired += 1
        was_told = self._is_stopping and code in {0, -signal.SIGTERM}
        if runner not in self.ended and not was_told:
            raise HephaestusError(f"runner {runner} ended with exit code {code}")

    def _hear(self, runner: int, line: str) -> None:
        if not line.startswith("["):  # a warning of the library's, or a traceback
            self._say(f"runner {runner}: {line.rstrip()}")
            return
        event, *what = json.loads(line)
        if event == "acknowledged":
            self.acknowledged.append(Work(*what))
        else:
            self._take_over(runner, *what)

    def _take_over(self, runner: int, order_id: str) -> None:
        """Notes that a runner has claimed the order."""
        orphan = self._orphans.get(order_id)
        # What its former owner said of it may be heard late.
        if orphan is not None and orphan.owner != runner:
            self.waits.append(time.monotonic() - orphan.since)
            del self._orphans[order_id]

    async def _hit(self, sent: signal.Signals, event: str) -> Process:
        info = await self._busiest()
        runner = int(info.name)
        process = self._running[runner]
        self.ended.add(runner)
        _send(process, sent)
        since = time.monotonic()
        orders = await self._storage.query(runner=info.token)
        for order in orders:
            self._orphans[order.id] = Orphan(runner, since)
        self._say(
            f"runner {runner} {event} after {len(self.acknowledged)} acknowledged steps; "
            f"it owned {len(orders)} orders"
        )
        return process

    async def _busiest(self) -> RunnerInfo:
        """Waits for a runner to be at work, and gives the one that owns the most."""
        while True:
            infos = await self._storage.runners()
            at_work = self._running.keys() - self.ended
            if found := [info for info in infos if int(info.name) in at_work]:
                return max(found, key=lambda info: info.owned)
            await asyncio.sleep(0.05)


def _send(process: Process, sent: signal.Signals) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):  # it has ended by itself
            # Process.send_signal would take the exit code of one that has just ended, and lose it.
            os.kill(process.pid, sent)
