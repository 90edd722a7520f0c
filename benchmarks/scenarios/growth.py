"""Measures a table as it grows: each call, bytes, WAL, vacuum, claims, prunes, a dump.

It is a table as a service keeps it, of which a hundredth is active, with the index over states and
without; and the memory that ``stream`` takes.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Literal

import psutil

from benchmarks import kept, upkeep
from benchmarks.calls import reads, timed, writes
from benchmarks.filling import TEMPLATE, fill
from benchmarks.fresh_process import alone, resident
from benchmarks.records import as_they_come
from benchmarks.states import HALFWAY, build
from hephaestus_pg import AsyncStorage, Names, migrations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from benchmarks.server import Server

ROWS = (10_000, 100_000, 1_000_000)
LARGE = 10_000_000

Profile = Literal["full", "none"]
PROFILES: tuple[Profile, ...] = ("full", "none")
"""The index over states that the table has, the second after the first."""

_RESTORED = 1_000_000
"""Rows up to which a dump is restored too."""

_STREAM_SECONDS = 30
_TIMEOUT = 3600.0


def growth(
    server: Server, sizes: Sequence[int], profiles: Sequence[Profile], *, seconds: float
) -> Iterator[dict[str, Any]]:
    """Records for each size, each of them a ``part``; of the first profile also all that reads."""
    template = build(TEMPLATE, HALFWAY, lines=1)
    with server.database("bench_growth") as dsn:
        asyncio.run(migrations.up(dsn))
        for held, rows in zip((0, *sizes), sizes, strict=False):
            asyncio.run(migrations.index(dsn, profile=profiles[0]))
            began = time.perf_counter()
            built = asyncio.run(fill(dsn, held, rows, template, rows=kept.ROWS))
            filled = {"filled": time.perf_counter() - began, "built": built}
            yield {"rows": rows, "part": "fill", **filled}
            for number, profile in enumerate(profiles, 1):
                first, last = profile == profiles[0], profile == profiles[-1]
                measured = _kept(
                    dsn, rows, profile, seconds, rows * number // 100, first=first, last=last
                )
                for record in as_they_come(measured):
                    about = {"rows": rows, "profile": profile, "load": psutil.getloadavg()[0]}
                    yield about | record
            yield {"rows": rows, "part": "stream", **alone(_streamed, dsn)}
            with server.database("bench_restored") as other:
                restored = other if rows <= _RESTORED else None
                figures = upkeep.dumped(server.programs, dsn, restored)
            yield {"rows": rows, "part": "dump", **figures}


async def _kept(
    dsn: str, rows: int, profile: Profile, seconds: float, prunable: int, *, first: bool, last: bool
) -> AsyncIterator[dict[str, Any]]:
    await migrations.index(dsn, profile=profile)
    async with (
        upkeep.looking(dsn) as nodes,
        AsyncStorage.start(dsn, references=Names(), timeout=_TIMEOUT) as storage,
    ):
        if first:
            yield {"part": "bytes", **await upkeep.sizes(nodes[0])}
        async for record in upkeep.lives(nodes, storage, rows, prunable):
            yield record
        if first:
            for name, call in (await reads(storage, rows)).items():
                if name == "contains" and profile == "none":
                    continue
                figures = (await timed(call, seconds)).figures()
                yield {"part": "calls", "operation": name, **figures}
        for name, sample in (await writes(storage, rows, seconds)).items():
            yield {"part": "calls", "operation": name, **sample.figures()}
        if last:
            yield {"part": "freeze", **await upkeep.vacuumed(nodes, "FREEZE")}


def _streamed(dsn: str) -> dict[str, Any]:
    return asyncio.run(_stream(dsn))


async def _stream(dsn: str) -> dict[str, Any]:
    """The peak growth of the process after the first page is read."""
    async with AsyncStorage.start(dsn, references=Names()) as storage:
        seen, first, most = 0, 0.0, 0.0
        began = time.perf_counter()
        async for _ in storage.stream():
            if seen % 500 == 0:
                most = max(most, resident())
                first = first or most
                if time.perf_counter() - began > _STREAM_SECONDS:
                    break
            seen += 1
        elapsed = time.perf_counter() - began
    return {
        "instances": seen,
        "throughput": seen / elapsed,
        "memory": most,
        "memory_grown": most - first,
    }
