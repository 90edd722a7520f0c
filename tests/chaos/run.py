"""One run: a server, the proxy, the callers, the faults, and what came of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from statistics import median, quantiles
from time import monotonic
from typing import TYPE_CHECKING, Any

import asyncpg

from tests.chaos.history import Call, History
from tests.chaos.load import POOL
from tests.chaos.looks import Clock
from tests.chaos.schedule import KINDS, SCHEMA, schedule, started
from tests.chaos.wakeups import TOLD, Waiters, Wakeups
from tests.support.lag import Lag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence

    from hephaestus_pg.embedded import EmbeddedServer
    from tests.chaos.proxy import Proxy
    from tests.chaos.schedule import Arena, Fault

FAULTS_BETWEEN_RESTS = 11
SLOTS_FREE = 1.0
"""Seconds after healing by which each slot is given back, to be taken by the next call, and after
the last call's end by which all are free; but for the lag of the callers' loop and the proxy's.

A connection that stays silent after healing, as one that the network has lost, is given up at the
deadline of its call: where there is one, it is seconds after the last deadline of the calls that
were under way at healing.
"""

WAIT = 60.0
"""Seconds within which the load must answer."""

MOST_RESTS = 40
"""In so many each verb has succeeded."""

FEWEST_RESTS = 9
"""How many it takes to see whether memory grows."""

GROWTH = 1.15
"""The memory at the end against that of the middle, at the most."""


@dataclass
class Report:
    """What a run found: ``violations`` is empty if everything that is promised held."""

    seed: int
    batching: bool
    history: History = field(default_factory=History)
    watches: Wakeups = field(default_factory=lambda: Wakeups("watch", TOLD))
    faults: Counter[str] = field(default_factory=Counter)
    rests: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    backends: int = 0
    """Sessions that the server still had after the load's end."""

    @property
    def violations(self) -> list[str]:
        return [*self.history.violations, *self.watches.violations, *self._left_behind()]

    def _left_behind(self) -> list[str]:
        found = []
        for number, rest in enumerate(self.rests, 1):
            found += [f"rest {number}: {call} under way" for call in rest["hanging"]]
            if rest["free"] < POOL or rest["seconds"] > SLOTS_FREE:
                after = f"{rest['seconds']:.2f} s after the last call"
                found.append(f"rest {number}: {rest['free']} of {POOL} slots free {after}")
            allowed = SLOTS_FREE + (rest["left"] if rest["silent"] else 0)
            if rest["freed"] > allowed:
                after = f"{rest['freed']:.2f} s after healing, and not {allowed:.2f}"
                found.append(f"rest {number}: the slots were given back {after}")
        tasks = [rest["tasks"] for rest in self.rests]
        if max(tasks) > min(tasks) + 2:  # the pool's own come and go
            found.append(f"tasks: {tasks}")
        files = [rest["files"] for rest in self.rests]
        if max(files) > min(files) + 2:
            found.append(f"files: {files}")
        resident = [rest["kilobytes"] for rest in self.rests]
        third = len(resident) // 3
        if third >= 3 and median(resident[-third:]) > GROWTH * median(resident[third:-third]):
            found.append(f"kilobytes: {resident}")
        if self.backends:
            found.append(f"{self.backends} sessions on the server after the end")
        return found

    def _lag(self) -> str:
        """How late the callers' loop was, as it has said at last."""
        last = self.rests[-1]
        return f"{last['lag']:.1f} s in all, {last['longest'] * 1000:.0f} ms at the longest"

    def __str__(self) -> str:
        history = self.history
        calls = Counter[str]()
        for (_, outcome), count in history.outcomes.items():
            calls[outcome] += count
        share = quantiles(history.seconds, n=1000)
        p50, p99, p999 = (1000 * share[at] for at in (499, 989, 998))
        freed = [
            max([rest["freed"] for rest in self.rests if rest["silent"] is silent], default=0)
            for silent in (False, True)
        ]
        verbs = sorted({verb for verb, _ in history.outcomes})
        lines = [
            f"seed {self.seed}, batching {'on' if self.batching else 'off'}, {self.seconds:.0f} s",
            f"faults      {sum(self.faults.values())}: {counted(self.faults)}",
            f"calls       {len(history.seconds)}: {counted(calls)}",
            *(
                f"  {verb:11} "
                + counted({o: n for (v, o), n in history.outcomes.items() if v == verb})
                for verb in verbs
            ),
            f"errors      {counted(history.errors)}",
            f"latency     p50 {p50:.0f} ms, p99 {p99:.0f} ms, p99.9 {p999:.0f} ms",
            f"deadlines   passed by {max(history.overrun, 0) * 1000:.0f} ms at most, less the lag",
            f"lag         {self._lag()}; by it {history.excused} calls were late",
            f"silence     {history.silence:.2f} s at the longest without a success",
            f"applied late {history.late} looks at a write of unknown outcome",
            f"watches     {self.watches}",
            f"rests       {len(self.rests)}: slots given back by {freed[0]:.2f} s after healing",
            f"            or by {freed[1]:.2f} s, where connections stayed silent",
            f"memory      {[rest['kilobytes'] // 1024 for rest in self.rests]} MiB",
            f"files       {[rest['files'] for rest in self.rests]}",
            f"violations  {len(self.violations)}",
        ]
        return "\n".join([*lines, *(f"  {violation}" for violation in self.violations[:20])])


def counted(counts: dict[str, int]) -> str:
    """Name each with its number, the most frequent first."""
    return ", ".join(
        f"{name} {counts[name]}" for name in sorted(counts, key=counts.__getitem__)[::-1]
    )


async def run(
    *,
    seed: int,
    faults: int | None = None,
    seconds: float | None = None,
    only: Sequence[str] = tuple(KINDS),
    callers: int = 200,
    batching: bool = True,
    distributed: str = "",
    wanted: Collection[str] = (),
    say: Callable[[str], object] = print,
) -> Report:
    """Do that many faults, or as many as there is time for, and check everything.

    It goes on until each of the ``wanted`` verbs has succeeded. With no faults at all it rests
    every second, to see whether memory grows.
    """
    report = Report(seed, batching)
    began = monotonic()
    async with started(seed, distributed) as arena:
        async with (
            _watching(arena, report, callers) as clock,
            _load(arena, report, callers) as load,
        ):
            until = began + seconds if seconds is not None else inf
            if faults == 0:
                await _peace(load, report, until)
            for number, fault in enumerate(islice(schedule(seed, only), faults), 1):
                if monotonic() > until:
                    break
                say(f"{number}. {fault}")
                await _one(arena, fault, report, clock)
                if number % FAULTS_BETWEEN_RESTS == 0:
                    report.rests.append(await load.rest())
            await _succeeded(load, report, set(wanted))
            report.rests.append(await load.rest())
        await _finish(arena.server, report)
    report.seconds = monotonic() - began
    return report


async def _succeeded(load: _Load, report: Report, wanted: set[str]) -> None:
    """Each of the ``wanted`` verbs has succeeded, if it takes a rest in which what piled up ends.

    Of more calls than a busy machine has time for, all may be too late, for as long as they come.
    """
    while missing := wanted - report.history.succeeded():
        assert len(report.rests) < MOST_RESTS, f"no call succeeded of {missing}"
        await asyncio.sleep(1)
        report.rests.append(await load.rest())


async def _peace(load: _Load, report: Report, until: float) -> None:
    while monotonic() < until or len(report.rests) < FEWEST_RESTS:
        await asyncio.sleep(1)
        report.rests.append(await load.rest())


async def _one(arena: Arena, fault: Fault, report: Report, clock: Clock) -> None:
    await asyncio.sleep(fault.pause)
    with clock.unreachable_during():
        await arena.suffer(fault)
    report.faults[fault.kind] += 1


async def _finish(server: EmbeddedServer, report: Report) -> None:
    """Compare the table with the history, and see that nobody is left on the server."""
    connection = await asyncpg.connect(server.dsn)
    try:
        rows = await connection.fetch(
            "SELECT id, (state #>> '{context,initial,token}')::bigint AS token, revision"
            f" FROM {SCHEMA}.workflow_instances"
        )
        report.history.finish(
            {row["id"]: (row["token"], row["revision"]) for row in rows}, monotonic()
        )
        until = monotonic() + WAIT
        while True:
            report.backends = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                " AND application_name NOT LIKE 'citus%'"  # a cluster's own
            )
            if not report.backends or monotonic() > until:
                break
            await asyncio.sleep(0.05)
    finally:
        await connection.close()


class _Load:
    """The process that calls."""

    def __init__(self, process: asyncio.subprocess.Process, proxy: Proxy, report: Report) -> None:
        self._process = process
        self._proxy = proxy
        self._report = report
        self._answers: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def rest(self) -> dict[str, Any]:
        """Have the calls end, and see what is left of them."""
        assert self._process.stdin is not None
        silent = any(path.lost for path in self._proxy.paths)
        self._process.stdin.write(b"rest\n")
        async with Lag() as lag:  # the proxy's
            rest = {**await self.answer(), "silent": silent}
        for what in ("freed", "seconds"):
            rest[what] -= min(rest[what], lag.total)
        return rest

    async def answer(self) -> dict[str, Any]:
        """What the load says next of itself."""
        async with asyncio.timeout(WAIT):
            answer = await self._answers.get()
        if answer is None:
            raise RuntimeError("the load has ended; its last words are on standard error")
        return answer

    async def read(self) -> None:
        """Check every call as it is told."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            if isinstance(told, dict):
                self._answers.put_nowait(told)
            else:
                self._report.history.add(Call(*told))
        self._answers.put_nowait(None)


@asynccontextmanager
async def _watching(arena: Arena, report: Report, callers: int) -> AsyncIterator[Clock]:
    """Watch what the callers put; the clock counts while their server can be reached."""
    async with Lag() as lag:
        clock = Clock(lag)
        async with Waiters(arena, clock) as waiters:
            report.watches = waiters.watches
            waiters.watch([f"put::{number}" for number in range(callers)])
            yield clock
            await waiters.settled()


@asynccontextmanager
async def _load(arena: Arena, report: Report, callers: int) -> AsyncIterator[_Load]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.chaos.load", arena.dsn, SCHEMA, str(report.seed), str(callers)),
        "on" if report.batching else "off",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    load = _Load(process, arena.proxy, report)
    reading = asyncio.create_task(load.read())
    try:
        await load.answer()  # that it has begun
        yield load
        assert process.stdin is not None
        process.stdin.write(b"end\n")
        async with asyncio.timeout(WAIT):
            await reading
            code = await process.wait()
        if code:
            report.history.violations.append(f"the load ended with {code}")
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        if process.returncode is None:
            process.kill()
            await process.wait()
