"""Runners on a table as a service keeps it: how soon and how many they claim and finish."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks import kept
from benchmarks.calls import CALLERS, together
from benchmarks.load import Sample
from hephaestus_pg import Status

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage, Runner

CLAIMABLE = 10_000

_WORKFLOW = "Shop.Orders.Claimed"
_ALONE = 20
"""One in so many is claimed by one worker."""


async def claims(storage: AsyncStorage, number: int) -> list[dict[str, Any]]:
    """So many are claimed and finished, by one worker, then by 64; then they are deleted."""
    orders = [replace(kept.new(each), workflow=_WORKFLOW) for each in range(number)]
    await storage.put_many(orders)
    alone = number // _ALONE
    records = [
        {"operation": "claim and finish", "callers": callers}
        | (await _finished(storage, callers, most)).figures()
        for callers, most in ((1, alone), (CALLERS, number - alone))
    ]
    assert await storage.count(workflow=_WORKFLOW, status=Status.COMPLETED) == number
    await together(storage.delete, [order.id for order in orders])
    return records


async def _finished(storage: AsyncStorage, callers: int, most: int) -> Sample:
    """The first ``most`` of them; a latency is from asking for a claim to having finished it."""
    moments: list[tuple[float, float]] = []
    clock = time.perf_counter

    async def work(runner: Runner) -> None:
        began = clock()
        async for claim in runner.claims():
            async with claim as order:
                await storage.update(replace(order, status=Status.COMPLETED))
            moments.append((began, clock()))
            if len(moments) == most:
                await runner.stop()  # that ends the iterations of all
            began = clock()

    async with storage.runner(workflows=[_WORKFLOW]) as runner, asyncio.TaskGroup() as workers:
        cpu, start = time.process_time(), clock()
        for _ in range(callers):
            workers.create_task(work(runner))
    elapsed = moments[-1][1] - start
    latencies = [ended - began for began, ended in moments]
    return Sample(len(moments), elapsed, time.process_time() - cpu, latencies)
