"""Measures what takes how many microseconds of a call, layer by layer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import contender
from benchmarks.fresh_process import alone
from benchmarks.ledger import LAYERS, Ledger
from benchmarks.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


def profiled(name: str, dsn: str, operation: str, callers: int, seconds: float) -> dict[str, Any]:
    """Microseconds by layer, ``counted`` and ``uncounted``; it is for a process of its own."""
    _, uncounted = asyncio.run(_run(name, dsn, operation, callers, seconds, Ledger()))
    ledger = Ledger()
    with ledger.hooked(), asyncio.Runner(loop_factory=ledger.loop) as runner:
        layers, counted = runner.run(_run(name, dsn, operation, callers, seconds, ledger))
    return {**layers, "counted": counted, "uncounted": uncounted}


async def _run(  # noqa: PLR0917 - what is run, and how
    name: str, dsn: str, operation: str, callers: int, seconds: float, ledger: Ledger
) -> tuple[dict[str, float], float]:
    """Microseconds by layer and of all, for each instance."""
    chosen = contender(name)
    await chosen.start(f"{dsn}?sslmode=disable")  # else asyncpg asks, on another protocol
    workload = Workload(chosen, SIZE)
    load = await workload.prepared(dsn, operation, callers, seconds / 4)
    ledger.start()
    sample = await load.run(seconds)
    spent = ledger.stop()
    await chosen.clear(dsn)
    await chosen.close()
    micro = 1e-3 / sample.instances
    return {
        layer: spent[layer] * micro for layer in LAYERS
    }, 1e6 * sample.seconds / sample.instances
