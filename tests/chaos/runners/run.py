"""One run: a server, the processes, the faults, and what came of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from hephaestus_pg import DatabaseError, Instance
from tests.chaos import schedule as server_faults
from tests.chaos.looks import Clock
from tests.chaos.run import counted
from tests.chaos.runners import processes as process_faults
from tests.chaos.runners import witness
from tests.chaos.runners.history import STEPS, History, Row
from tests.chaos.runners.processes import Processes
from tests.chaos.runners.waits import Observer, Waits
from tests.chaos.runners.worker import TIMEOUT, WORKFLOW
from tests.chaos.schedule import SCHEMA, schedule, started
from tests.chaos.wakeups import Waiters
from tests.support.lag import Lag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.chaos.schedule import Arena, Fault

LEASE = 2.0
TAKEN_OVER = LEASE + 2.0
"""Seconds that an instance may have no owner, whatever became of the one before."""

OPEN = 80
"""Instances that are not finished, at the same time: the living processes can take them all."""

KINDS = (*server_faults.KINDS, *process_faults.KINDS)
USUAL = (
    *server_faults.KINDS,
    *("kill process",) * 10,
    *("freeze process",) * 10,
    *("stop process",) * 3,
)
"""Which kinds there are, and how often: two thirds of the faults leave the server alone."""

SILENT = {"lose"}
"""Faults after which connections stay silent until somebody gives them up."""

STARTED = 5.0
"""Seconds within which what can be claimed is: the living processes have time for it."""

STUCK = 60.0
"""Seconds in which no instance is inserted or finished, after which none will be."""

ROWS = f"""
SELECT id, status, (state #>> '{{runtime_metadata,step}}')::integer, runner::text, attempts
FROM {SCHEMA}.workflow_instances
"""

# Without the listeners, which end by themselves.
NAMED = f"SELECT token::text FROM {SCHEMA}.workflow_runners WHERE workflows <> '{{}}'"


@dataclass
class Report:
    """What a run found: ``violations`` is empty if everything that is promised held."""

    seed: int
    processes: int
    clock: Clock
    waits: Waits
    starts: Waits
    waiters: Waiters
    history: History
    lag: Lag
    faults: Counter[str] = field(default_factory=Counter)
    instances: int = 0
    seconds: float = 0.0

    @property
    def violations(self) -> list[str]:
        return [
            *self.history.violations,
            *self.waits.violations,
            *self.starts.violations,
            *self.waiters.violations,
        ]

    def __str__(self) -> str:
        history, waiters, clock, lag = self.history, self.waiters, self.clock, self.lag
        lines = [
            f"seed {self.seed}, {self.processes} processes, {self.seconds:.0f} s",
            f"faults      {sum(self.faults.values())}: {counted(self.faults)}",
            f"instances   {self.instances} of {STEPS} steps",
            f"claims      {history.claims}, of one instance {history.owners} at most",
            f"writes      {history.writes} took effect, {history.acknowledged} were acknowledged",
            f"refused     {len(history.refused)} updates, most of claims that were lost",
            f"errors      {counted(history.errors)}",
            f"ownerless   {self.waits}",
            f"claimable   {self.starts}",
            f"waits       {waiters.waits}",
            f"watches     {waiters.watches}",
            f"counted     {clock.seconds:.0f} s; out of reach {clock.unreachable:.0f} s",
            f"lag         {lag.total:.1f} s in all, {lag.longest * 1000:.0f} ms at the longest",
            f"violations  {len(self.violations)}",
        ]
        return "\n".join([*lines, *(f"  {violation}" for violation in self.violations[:20])])


async def run(
    *,
    seed: int,
    faults: int | None = None,
    seconds: float | None = None,
    only: Sequence[str] = USUAL,
    processes: int = 8,
    instances: int = 2000,
    say: Callable[[str], object] = print,
) -> Report:
    """Do that many faults, or as many as there is time for, to at least so many instances."""
    began = monotonic()
    async with started(seed) as arena, Lag() as lag:
        history = History()
        clock = Clock(lag)
        waiters = Waiters(arena, clock)
        waits, starts = Waits(TAKEN_OVER), Waits(STARTED)
        report = Report(seed, processes, clock, waits, starts, waiters, history, lag)
        async with arena.admin() as admin:
            await admin.execute(witness.CREATE)
        async with (
            Processes(arena.dsn, history, number=processes, lease=LEASE, seed=seed) as crew,
            Observer(arena, clock, waits, starts, crew.dead) as observer,
            waiters,
        ):
            async with asyncio.timeout(STUCK):
                while not crew.are_ready:
                    await observer.next()
            feeder = _Feeder(waiters, observer, history)
            until = began + seconds if seconds is not None else inf
            async with asyncio.TaskGroup() as tasks:
                feeding = tasks.create_task(feeder.feed(instances))
                for number, fault in enumerate(islice(schedule(seed, only), faults), 1):
                    if monotonic() > until:
                        break
                    say(f"{number}. {fault}")
                    await _suffer(arena, crew, report, fault)
                feeder.are_faults_over = True
                await until_finished(feeding, observer, history)
            await waiters.settled()
            await _until_buried(arena, crew, observer)
            await crew.stop()
        await _check(arena, report)
    report.seconds = monotonic() - began
    return report


async def _suffer(arena: Arena, crew: Processes, report: Report, fault: Fault) -> None:
    await asyncio.sleep(fault.pause)
    if fault.kind in process_faults.KINDS:
        await crew.suffer(fault)
    else:
        with report.clock.unreachable_during(TIMEOUT if fault.kind in SILENT else 0.0):
            await arena.suffer(fault)
    report.faults[fault.kind] += 1


class _Feeder:
    """Inserts instances and waits for them, so that as many are open until the faults are over."""

    def __init__(self, waiters: Waiters, observer: Observer, history: History) -> None:
        self._waiters = waiters
        self._observer = observer
        self._history = history
        self._number = 0
        self.are_faults_over = False

    async def feed(self, least: int) -> None:
        """Go on until the faults are over and there are at least so many."""
        while not self.are_faults_over or self._observer.instances < least:
            await self._observer.next()
            missing = OPEN - self._observer.open
            inserted = await asyncio.gather(*(self._insert() for _ in range(missing)))
            self._waiters.begin([id for id in inserted if id is not None])

    async def _insert(self) -> str | None:
        self._number += 1
        id = f"fed::{self._number}"
        try:
            await self._waiters.storage.insert(Instance(id, WORKFLOW), timeout=TIMEOUT)
        except DatabaseError:
            return None  # the next one has another id
        self._history.inserted(id)
        return id


async def until_finished(feeding: asyncio.Task[None], observer: Observer, history: History) -> None:
    """Wait until all are inserted and none is open, unless they are stuck, which is a violation."""
    seen, changed = None, monotonic()
    while True:
        await observer.next()
        now = feeding.done(), observer.open, observer.instances
        if now != seen:
            seen, changed = now, monotonic()
        elif feeding.done() and not observer.open:
            return  # at two looks: a runner that finished the last one may have inserted another
        elif monotonic() > changed + STUCK:
            feeding.cancel()
            history.violations.append(
                f"of {observer.instances} instances {observer.open} are open, "
                "and none is inserted or finished any more"
            )
            return


async def _until_buried(arena: Arena, crew: Processes, observer: Observer) -> None:
    """Wait until the table names no runner that is dead, and each process has a runner."""
    until = monotonic() + STUCK
    async with arena.admin() as admin:
        while monotonic() < until:
            await observer.next()
            if crew.are_ready and not crew.dead & {
                row["token"] for row in await admin.fetch(NAMED)
            }:
                return


async def _check(arena: Arena, report: Report) -> None:
    """Compare what took effect, and what is left, with what was told."""
    async with arena.admin() as admin:
        rows = [Row(*row) for row in await admin.fetch(ROWS)]
        named = [row["token"] for row in await admin.fetch(NAMED)]
        report.history.finish(await witness.versions(admin), rows, named)
    report.instances = len(rows)
