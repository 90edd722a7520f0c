"""The figures of a storage: what waits, what is under way, and what has been so far."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import Instance
from hephaestus_pg.execution.statistics import ProcessStats

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage
    from tests.support.faults import Faults
    from tests.support.starting import Start

pytestmark = pytest.mark.quick

IDLE = ProcessStats(
    connections_in_use=0,
    connections_idle=2,
    connections_waited_for=0,
    calls_under_way=0,
    calls_queued=0,
    calls_outside=0,
    ids_held=0,
    statements_under_way=0,
    batch_sizes={1: 5},
    failed_tries=3,
)
NO_WORK = {"connections_idle", "batch_sizes", "failed_tries"}
WORK = [field.name for field in fields(ProcessStats) if field.name not in NO_WORK]


def test_what_was_done_before_leaves_a_storage_idle() -> None:
    assert IDLE.is_idle


@pytest.mark.parametrize("figure", WORK)
def test_what_is_under_way_or_waits_does_not(figure: str) -> None:
    busy: dict[str, int] = {figure: 1}
    assert not replace(IDLE, **busy).is_idle  # type: ignore[arg-type]


async def test_calls_behind_a_lock_are_counted_where_they_wait(
    start: Start, pool: asyncpg.Pool[asyncpg.Record], schema: str
) -> None:
    async with start(max_size=3) as storage:
        async with pool.acquire() as holder, holder.transaction():
            await holder.execute(f"LOCK {schema}.workflow_instances")
            calls = [
                asyncio.create_task(storage.put(Instance(f"x::{n % 20}", "W"))) for n in range(40)
            ]
            while storage.process_stats().connections_in_use < 2:
                await asyncio.sleep(0.001)
            stats = storage.process_stats()
            assert (stats.calls_under_way, stats.calls_queued, stats.ids_held) == (40, 40, 20)
            assert stats.statements_under_way >= 2
            assert (stats.calls_outside, stats.is_idle) == (0, False)
        await asyncio.gather(*calls)
        while not (stats := storage.process_stats()).is_idle:
            await asyncio.sleep(0.001)
        assert sum(size * number for size, number in stats.batch_sizes.items()) == 40
        assert stats.connections_idle <= 3


async def test_a_transaction_that_waits_for_a_connection_is_counted(start: Start) -> None:
    async with start(max_size=1) as storage:

        async def transaction() -> None:
            async with storage.transaction():
                pass

        async with storage.transaction():
            waiting = asyncio.create_task(transaction())
            while not storage.process_stats().connections_waited_for:
                await asyncio.sleep(0.001)
            stats = storage.process_stats()
            assert (stats.connections_in_use, stats.connections_idle) == (1, 0)
            assert (stats.connections_waited_for, stats.calls_under_way) == (1, 2)
        await waiting
        assert storage.process_stats().is_idle


async def test_each_failed_try_is_counted(storage: AsyncStorage, faults: Faults) -> None:
    faults.break_connection("get", times=2)
    assert await storage.get("x") is None
    assert storage.process_stats().failed_tries == 2


async def test_without_batching_no_call_is_queued(start: Start) -> None:
    async with start(batching=False) as storage:
        await asyncio.gather(*(storage.put(Instance(f"x::{n}", "W")) for n in range(5)))
        stats = storage.process_stats()
        assert (dict(stats.batch_sizes), stats.calls_queued) == ({}, 0)
        assert stats.is_idle
