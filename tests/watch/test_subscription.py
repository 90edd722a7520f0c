from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import Instance, Status
from hephaestus_pg.execution import pool_runner
from hephaestus_pg.watch import listener, subscription, watchers
from hephaestus_pg.watch.subscription import Need
from tests.support.lag import happens
from tests.watch.conftest import listens

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage
    from tests.support.faults import Faults

    Pool = asyncpg.Pool[asyncpg.Record]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "LINGER_SECONDS", 0.0)
    monkeypatch.setattr(listener, "BEAT_SECONDS", 0.05)


async def told(pool: Pool, storage: AsyncStorage) -> bool:
    """A row tells other processes to tell it of everything."""
    table = f"{storage.schema}.workflow_runners"
    return bool(await pool.fetchval(f"SELECT true FROM {table} WHERE workflows = '{{}}'"))


@pytest.mark.quick
async def test_a_need_lasts_a_little_longer_than_who_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscription, "LINGER_SECONDS", 3600.0)
    need = Need()
    assert not need.lasts
    with need:
        assert need.lasts
        with need:
            pass
        assert need.lasts
    assert need.lasts
    monkeypatch.setattr(subscription, "LINGER_SECONDS", 0.0)
    with need:
        pass
    assert not need.lasts


async def test_a_runner_is_told_of_work_and_of_nothing_else(
    storage: AsyncStorage, other: AsyncStorage, pool: Pool, faults: Faults
) -> None:
    async with other.runner(workflows=["Order"]):
        await listens(other)
        assert not await told(pool, other)
        done = await storage.insert(Instance("a", "Order", status=Status.COMPLETED))
        await storage.update(replace(done, status=Status.WAITING))
        assert storage._outlet.notifier.is_idle
        await storage.insert(Instance("b", "Order"))
        assert not storage._outlet.notifier.is_idle
        await happens(lambda: "notify" in faults.tried)


async def test_who_waits_beside_a_runner_is_told_of_everything_meanwhile(
    storage: AsyncStorage, other: AsyncStorage, pool: Pool
) -> None:
    async with other.runner(workflows=["Order"]):
        await listens(other)
        waiting = asyncio.create_task(other.wait("x"))
        await asyncio.sleep(0)
        await listens(other)
        assert await told(pool, other)
        stored = await storage.insert(Instance("x", "Order", status=Status.COMPLETED))
        assert await waiting == stored
        while await told(pool, other):
            await asyncio.sleep(0.01)
        assert other._subscription.is_listening
    await happens(lambda: not other._subscription.is_listening)


async def test_who_begins_to_listen_sees_what_one_wrote_that_had_just_asked(
    storage: AsyncStorage, other: AsyncStorage, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "LOOK_SECONDS", 3600.0)
    monkeypatch.setattr(pool_runner, "ASK_SECONDS", 3600.0)
    monkeypatch.setattr(subscription, "AGAIN_SECONDS", 1.0)
    order = await storage.insert(Instance("x", "Order"))
    waiting = asyncio.create_task(other.wait("x"))
    await listens(other)
    stored = await storage.update(replace(order, status=Status.COMPLETED))
    assert await waiting == stored
    assert "notify" not in faults.tried
