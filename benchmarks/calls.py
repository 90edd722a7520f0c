"""One caller's calls on a table as a service keeps it: each verb, and pages by each index."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import kept
from benchmarks.load import Sample
from hephaestus_pg import Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from hephaestus_pg import AsyncStorage, Instance

    Call = Callable[[], Awaitable[Any]]

PAGE = 50
"""Rows that a query brings, whatever the size of the table."""

CALLERS = 64
"""Callers at once, where there is not one."""


async def reads(storage: AsyncStorage, rows: int) -> dict[str, Call]:
    """The verbs that read, by what they read."""
    chosen = random.Random(rows)
    page = partial(storage.query, limit=PAGE)
    by_moment = partial(page, order_by="inserted_at")
    newest = partial(page, order_by="-inserted_at")

    def number() -> int:
        return kept.any_of(rows, chosen)

    def moment() -> Any:
        return kept.inserted_at(number())

    def written_within() -> Awaitable[Any]:
        start = moment()
        return page(updated_after=start, updated_before=start + timedelta(seconds=PAGE))

    found = [await storage.get(kept.id(number())) for _ in range(100)]
    places = [storage.cursor(each) for each in found if each]
    moments = [storage.cursor(each, order_by="inserted_at") for each in found if each]
    return {
        "get": lambda: storage.get(kept.id(number())),
        "get of an active one": lambda: storage.get(kept.id(kept.active_of(rows, chosen))),
        "query: id": lambda: storage.query(id=kept.id(number())),
        "status, few": lambda: page(status=Status.WAITING),
        "status, most": lambda: page(status=Status.COMPLETED),
        "status, few, the newest": lambda: newest(status=Status.WAITING),
        "status, some, the newest": lambda: newest(status=Status.FAILED),
        "status_in": lambda: page(status_in=Status.ACTIVE),
        "workflow": lambda: page(workflow=kept.workflow(number())),
        "workflow, status": lambda: page(
            workflow=kept.workflow(number()), status=Status.RUNNING
        ),
        "workflow_version": lambda: page(workflow_version=2),
        "workflow_family": lambda: page(workflow_family="Shop.Orders.Fulfil1"),
        "contains": lambda: storage.query(
            contains={"context": {"initial": {"order": number()}}}
        ),
        "inserted_after": lambda: by_moment(inserted_after=moment()),
        "the newest": newest,
        "due_before": lambda: page(due_before=kept.inserted_at(rows)),
        "page in the middle": lambda: page(after=chosen.choice(places)),
        "page in the middle by inserted_at": lambda: by_moment(after=chosen.choice(moments)),
        "summaries": lambda: _all_of(storage.summaries(limit=PAGE, order_by="-inserted_at")),
        "updated_after and updated_before": written_within,
        "count of a status, few": lambda: storage.count(status=Status.WAITING),
        "count of a status, most": lambda: storage.count(status=Status.COMPLETED),
        "count": storage.count,
        "count_by status": lambda: storage.count_by("status"),
        "stats": storage.stats,
        "stuck": storage.stuck,
    }  # fmt: skip


async def _all_of(summaries: Any) -> list[Any]:
    return [each async for each in summaries]


async def writes(storage: AsyncStorage, rows: int, seconds: float) -> dict[str, Sample]:
    """Orders that are inserted, updated and deleted, and puts to the active ones."""
    chosen = random.Random(rows)
    inserted: list[Instance] = []

    async def insert() -> None:
        inserted.append(await storage.insert(kept.new(len(inserted))))

    async def update() -> None:
        at = chosen.randrange(len(inserted))
        stage = (len(inserted[at].completed_steps) + 1) % 4
        changed = kept.order(int(inserted[at].context.initial["order"]), stage)
        inserted[at] = await storage.update(replace(changed, revision=inserted[at].revision))

    async def put() -> None:
        await storage.put(kept.order(kept.active_of(rows, chosen), chosen.randrange(4)))

    async def delete() -> None:
        await storage.delete(inserted.pop().id)

    samples = {
        "insert": await timed(insert, seconds),
        "update": await timed(update, seconds),
        "put": await timed(put, seconds),
        "delete": await timed(delete, seconds, at_most=len(inserted) - 1),
    }
    await together(storage.delete, [each.id for each in inserted])
    return samples


async def timed(call: Call, seconds: float, *, at_most: float = float("inf")) -> Sample:
    """One caller's calls for that long, three at the least."""
    clock = time.perf_counter
    await call()
    latencies: list[float] = []
    cpu, start = time.process_time(), clock()
    while len(latencies) < at_most and (len(latencies) < 3 or clock() - start < seconds):
        began = clock()
        await call()
        latencies.append(clock() - began)
    return Sample(len(latencies), clock() - start, time.process_time() - cpu, latencies)


async def together(call: Callable[[Any], Awaitable[Any]], given: Iterable[Any]) -> list[Any]:
    """The results of all calls, of which so many callers have one each under way."""
    places = asyncio.Semaphore(CALLERS)

    async def one(value: Any) -> Any:
        async with places:
            return await call(value)

    return await asyncio.gather(*map(one, given))
