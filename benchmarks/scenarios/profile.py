"""Measures what takes how many microseconds of a call, layer by layer."""

from __future__ import annotations

import asyncio
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.contenders import contender
from benchmarks.fresh_process import alone
from benchmarks.ledger import LAYERS, Ledger
from benchmarks.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from benchmarks.server import Server

CONTENDERS = ("ours", "asyncpg-noreset")

CASES = {
    "one get": ("get", 1),
    "one put": ("put", 1),
    "a get of 64": ("get", 64),
    "a put of 64": ("put", 64),
    "a row of query": ("query", 1),
}

SIZE = "1kb"


def profile(
    server: Server, cases: Sequence[str], *, rounds: int, seconds: float
) -> Iterator[dict[str, Any]]:
    """A record for each round, case and contender: microseconds by layer, and of all of it.

    ``uncounted`` are those of the same calls without the counting, which is not free.
    """
    for round_number in range(rounds):
        for case in cases:
            for name in (list(CONTENDERS), list(reversed(CONTENDERS)))[round_number % 2]:
                with server.database("bench_profile") as dsn:
                    figures = alone(profiled, name, dsn, *CASES[case], seconds)
                yield {"round": round_number, "case": case, "contender": name, **figures}


def profiled(name: str, dsn: str, operation: str, callers: int, seconds: float) -> dict[str, float]:
    """Microseconds by layer, ``counted`` and ``uncounted``; it is for a process of its own."""
    uncounted = asyncio.run(_run(name, dsn, operation, callers, seconds, Ledger()))
    ledger = Ledger()
    with ledger.hooked(), asyncio.Runner(loop_factory=ledger.loop) as runner:
        counted = runner.run(_run(name, dsn, operation, callers, seconds, ledger))
    layers = {layer: counted.layers[layer] for layer in LAYERS}
    return {**layers, "counted": counted.all, "uncounted": uncounted.all}


class _Spent(NamedTuple):
    """Microseconds of an instance: of all, and by layer."""

    all: float
    layers: Mapping[str, float]


async def _run(  # noqa: PLR0917 - what is run, and how
    name: str, dsn: str, operation: str, callers: int, seconds: float, ledger: Ledger
) -> _Spent:
    chosen = contender(name)
    await chosen.start(f"{dsn}?sslmode=disable")  # else asyncpg asks, on another protocol
    slices = _Slices(getattr(chosen, operation), callers, ledger)
    setattr(chosen, operation, slices.call)
    load = await Workload(chosen, SIZE).prepared(dsn, operation, callers, seconds / 4)
    slices.clear()
    await load.run(seconds)
    await chosen.clear(dsn)
    await chosen.close()
    return slices.middle()


class _Slices:
    """What was spent on each so many calls: on one, or on as many as there are callers."""

    def __init__(self, call: Callable[..., Awaitable[int]], calls: int, ledger: Ledger) -> None:
        self._call = call
        self._calls = calls
        self._ledger = ledger
        self.clear()

    def clear(self) -> None:
        """Begins anew."""
        self._found: list[_Spent] = []
        self._begin()

    def _begin(self) -> None:
        self._done = self._instances = 0
        self._ledger.start()

    async def call(self, *arguments: Any) -> int:
        """One call."""
        instances = await self._call(*arguments)
        self._done += 1
        self._instances += instances
        if self._done == self._calls:
            (whole, spent), part = self._ledger.stop(), 1000 * self._instances
            layers = {layer: spent[layer] / part for layer in LAYERS}
            self._found.append(_Spent(whole / part, layers))
            self._begin()
        return instances

    def middle(self) -> _Spent:
        """The mean of the middle half: what a neighbour on the machine held up is not in it."""
        ordered = sorted(self._found, key=lambda spent: spent.all)
        quarter = len(ordered) // 4
        chosen = ordered[quarter : max(quarter + 1, len(ordered) - quarter)]
        layers = {layer: fmean(each.layers[layer] for each in chosen) for layer in LAYERS}
        return _Spent(fmean(each.all for each in chosen), layers)
