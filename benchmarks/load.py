"""Load: callers that each wait for their answer before they ask again, at once or at a pace."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from itertools import count
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "worst": 1.0}


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of one run of load: ``latencies`` in seconds a call, ``cpu`` of this process."""

    instances: int
    seconds: float
    cpu: float
    latencies: Sequence[float]

    def figures(self) -> dict[str, float]:
        """Instances a second, milliseconds a call, and CPU seconds a thousand instances."""
        ordered = sorted(self.latencies)
        return {
            "throughput": self.instances / self.seconds,
            "calls": float(len(ordered)),
            "instances": float(self.instances),
            **{name: 1000 * percentile(ordered, part) for name, part in PERCENTILES.items()},
            "client_cpu": 1000 * self.cpu / self.instances,
        }


def percentile(ordered: Sequence[float], part: float) -> float:
    """The nearest rank: the smallest value that at least ``part`` of the values do not exceed."""
    return ordered[max(0, ceil(part * len(ordered)) - 1)]


class Load:
    """``callers`` tasks, of which each goes on with its own next turn in every run.

    ``call(caller, turn)`` answers with how many instances it stored or brought.
    """

    def __init__(self, call: Callable[[int, int], Awaitable[int]], callers: int) -> None:
        self._call = call
        self._turns = [0] * callers

    async def run(self, seconds: float) -> Sample:
        """Load for that long; calls under way at the end are waited for, and count."""
        latencies: list[float] = []
        cpu, began = time.process_time(), time.perf_counter()
        callers = range(len(self._turns))
        done = await asyncio.gather(
            *(self._caller(each, began + seconds, latencies) for each in callers)
        )
        elapsed = time.perf_counter() - began
        return Sample(sum(done), elapsed, time.process_time() - cpu, latencies)

    async def _caller(self, caller: int, end: float, latencies: list[float]) -> int:
        call, clock, done = self._call, time.perf_counter, 0
        while True:
            began = clock()
            done += await call(caller, self._turns[caller])
            now = clock()
            latencies.append(now - began)
            self._turns[caller] += 1
            if now >= end:
                return done


class PacedLoad:
    """``callers`` tasks that together make ``rate`` calls a second, until cancelled.

    Who is late goes on at once, so that the rate is kept as long as it can be.
    """

    def __init__(
        self, call: Callable[[int, int], Awaitable[None]], callers: int, rate: float
    ) -> None:
        self._call = call
        self._callers = callers
        self._rate = rate
        self.calls = 0
        """The number of calls that have ended."""

    async def run(self) -> None:
        """Load from now on; ends with the first error."""
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for caller in range(self._callers):
                group.create_task(self._caller(caller, began))

    async def _caller(self, caller: int, began: float) -> None:
        for turn in count():
            due = began + (turn * self._callers + caller) / self._rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await self._call(caller, turn)
            self.calls += 1
