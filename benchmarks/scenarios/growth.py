"""Measures each call of one caller as the table grows, and the memory that ``stream`` takes."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.filling import TEMPLATE, fill
from benchmarks.fresh_process import alone, resident
from benchmarks.load import Sample
from benchmarks.states import HALFWAY, build
from hephaestus_pg import (
    AsyncStorage,
    Names,
    Status,
    migrations,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from benchmarks.server import Server

ROWS = (10_000, 100_000, 1_000_000)
LARGE = 10_000_000

PAGE = 50
"""Rows that a query brings, whatever the size of the table."""

_BEGAN = datetime(2025, 1, 1, tzinfo=UTC)
_PRUNED_BEFORE = datetime(2021, 1, 1, tzinfo=UTC)
_STREAM_SECONDS = 30


def growth(server: Server, sizes: Sequence[int], *, seconds: float) -> Iterator[dict[str, Any]]:
    """A record for each size and operation."""
    template = build(TEMPLATE, HALFWAY, lines=1)
    with server.database("bench_growth") as dsn:
        asyncio.run(migrations.up(dsn))
        for held, rows in zip((0, *sizes), sizes, strict=False):
            asyncio.run(fill(dsn, held, rows, template))
            for measured in (_calls, _prune):
                for record in asyncio.run(measured(dsn, rows, seconds)):
                    yield {"rows": rows, **record}
            yield {"rows": rows, "operation": "stream", **alone(_streamed, dsn)}


async def _calls(dsn: str, rows: int, seconds: float) -> list[dict[str, Any]]:
    chosen = random.Random(rows)

    def number() -> int:
        return chosen.randrange(rows) // 50 * 50 + 1

    def id() -> str:
        return build(number(), 0, lines=0).id

    def workflow() -> str:
        return f"Shop.Orders.Fulfil{number() // 50:08d}"

    def moment() -> datetime:
        return _BEGAN + timedelta(seconds=number())

    async with AsyncStorage.start(dsn, name="growth", references=Names()) as storage:
        found = [await storage.get(id()) for _ in range(100)]
        places = [storage.cursor(instance) for instance in found if instance]
        moments = [
            storage.cursor(instance, order_by="inserted_at") for instance in found if instance
        ]
        page = partial(storage.query, limit=PAGE)
        by_moment = partial(page, order_by="inserted_at")

        def written_within() -> Awaitable[Any]:
            start = moment()
            return page(updated_after=start, updated_before=start + timedelta(seconds=PAGE))

        operations: dict[str, Callable[[], Awaitable[Any]]] = {
            "get": lambda: storage.get(id()),
            "id": lambda: storage.query(id=id()),
            "status": lambda: page(status=Status.WAITING),
            "status_in": lambda: page(status_in=[Status.WAITING, Status.RUNNING]),
            "workflow": lambda: storage.query(workflow=workflow()),
            "workflow_version": lambda: page(workflow_version=2),
            "workflow_family": lambda: storage.query(workflow_family=workflow()),
            "contains": lambda: storage.query(
                contains={"context": {"initial": {"order": number()}}}
            ),
            "inserted_after": lambda: by_moment(inserted_after=moment()),
            "inserted_before": lambda: by_moment(inserted_before=moment()),
            "updated_after and updated_before": written_within,
            "page in the middle": lambda: page(after=chosen.choice(places)),
            "page in the middle by inserted_at": lambda: by_moment(after=chosen.choice(moments)),
            "count": storage.count,
            "count of a status": lambda: storage.count(status=Status.WAITING),
            # The last, since it changes what the filters find.
            "put": lambda: storage.put(build(number(), chosen.randrange(4), lines=1)),
        }
        return [
            {"operation": name, **(await _timed(call, seconds)).figures()}
            for name, call in operations.items()
        ]


async def _timed(call: Callable[[], Awaitable[Any]], seconds: float) -> Sample:
    """One caller's calls for that long, three at the least."""
    clock = time.perf_counter
    await call()
    latencies: list[float] = []
    cpu, start = time.process_time(), clock()
    while len(latencies) < 3 or clock() - start < seconds:
        began = clock()
        await call()
        latencies.append(clock() - began)
    return Sample(len(latencies), clock() - start, time.process_time() - cpu, latencies)


async def _prune(dsn: str, rows: int, seconds: float) -> list[dict[str, Any]]:
    """How fast what finished long ago goes: rows a second, of which one in fifty does."""
    async with AsyncStorage.start(dsn, name="growth", references=Names()) as storage:
        began = time.perf_counter()
        pruned = await storage.prune(finished_before=_PRUNED_BEFORE)
        elapsed = time.perf_counter() - began
    return [{"operation": "prune", "instances": pruned, "throughput": pruned / elapsed}]


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
