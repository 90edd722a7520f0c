"""The lag of the oldest that is due."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import Instance, Status
from tests.support.lag import happens

pytest.importorskip("opentelemetry.sdk", reason="the group test is not installed")

from hephaestus_pg.otel import backlog

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage
    from tests.otel.recorded import Recorded
    from tests.support.faults import Faults

LAG = "hephaestus_pg.oldest_due.lag"


async def test_who_reads_is_given_what_the_last_look_found(
    storage: AsyncStorage, recorded: Recorded, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    since = datetime.now(UTC) - timedelta(hours=1)
    due = replace(Instance.new("Orders", {}, id="a"), status=Status.WAITING, due_at=since)
    await storage.put(due)
    written = "updated_at = updated_at - interval '2 hours'"
    await pool.execute(f'UPDATE "{storage.schema}".workflow_instances SET {written}')
    assert recorded.points(LAG) == []
    await happens(lambda: recorded.points(LAG))
    [point] = recorded.points(LAG, workflow="Orders")
    assert 3600 <= point.value < 3660


async def test_one_odd_moment_does_not_hide_the_others(
    storage: AsyncStorage, recorded: Recorded, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    for id in ("Odd", "Orders"):
        await storage.put(Instance.new(id, {}, id=id))
    odd = "due_at = '-infinity', updated_at = '-infinity' WHERE id = 'Odd'"
    await pool.execute(f'UPDATE "{storage.schema}".workflow_instances SET {odd}')
    await happens(lambda: recorded.points(LAG, workflow="Orders"))
    assert recorded.points(LAG, workflow="Odd") == []


async def test_it_may_be_read_on_another_thread(storage: AsyncStorage, recorded: Recorded) -> None:
    await storage.put(Instance.new("Orders", {}, id="a"))
    await asyncio.to_thread(recorded.points, LAG)
    await happens(lambda: recorded.statements("backlog"))
    assert await asyncio.to_thread(recorded.points, LAG)


async def test_however_often_it_is_read_there_is_one_look_meanwhile(
    storage: AsyncStorage, recorded: Recorded, faults: Faults
) -> None:
    for _ in range(5):
        recorded.points(LAG)
    await happens(lambda: recorded.statements("backlog"))
    recorded.points(LAG)
    await storage.ping()
    assert faults.tried.count("backlog") == 1


async def test_after_a_failed_look_nothing_is_reported_until_the_next(
    storage: AsyncStorage, recorded: Recorded, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.faults import lost

    monkeypatch.setattr(backlog, "LOOK_SECONDS", 0.001)
    await storage.put(Instance.new("Orders", {}, id="a"))
    await happens(lambda: recorded.points(LAG))
    error = lost()
    error.retryable = False
    faults.refuse("backlog", error=error)
    await happens(lambda: not recorded.points(LAG))
    await happens(lambda: recorded.points(LAG))


async def test_a_look_that_is_under_way_does_not_hold_up_the_end(
    storage: AsyncStorage, recorded: Recorded, faults: Faults
) -> None:
    look = faults.delay("backlog")
    recorded.points(LAG)
    await look.started.wait()
    async with asyncio.timeout(10):
        await storage.close()
