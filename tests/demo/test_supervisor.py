from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import Instance, Status
from hephaestus_pg.demo import supervisor
from hephaestus_pg.demo.supervisor import Plan, Supervisor, courier_came, faults
from hephaestus_pg.demo.witness import Work
from tests.support.catalog import WAIT_SECONDS
from tests.support.lag import happens

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpg import Pool

    from hephaestus_pg import AsyncStorage

PLAN = Plan(instances=2, runners=1, kills=2, freezes=0, lease=0.1, seed=1)


@pytest.fixture(autouse=True)
def idle(script: Callable[[str], None]) -> None:
    """Lets the runners' processes do nothing."""
    script("exec sleep 100")


@pytest.mark.quick
def test_each_fault_has_a_part_of_the_way_of_its_own_and_a_seed_draws_the_same_again() -> None:
    plan = replace(PLAN, instances=100, kills=3, freezes=2)
    drawn = faults(plan)
    assert sorted(kind for _, kind in drawn) == ["freeze", "freeze", "kill", "kill", "kill"]
    assert [int(due * 6 / 500) for due, _ in drawn] == [0, 1, 2, 3, 4]
    assert faults(plan) == drawn
    assert faults(replace(plan, seed=2)) != drawn


async def test_it_kills_as_often_as_it_was_told_though_all_steps_are_heard_of_at_once(
    storage: AsyncStorage, nowhere: Pool[Any]
) -> None:
    """As on a machine that is too busy to hear of them before all is done."""
    async with AsyncExitStack() as owners:
        for number in (1, 2, 3):
            runner = storage.runner(workflows=["demo.Order"], name=str(number))
            await owners.enter_async_context(runner)
        demo = Supervisor("", nowhere, storage, PLAN)
        running = asyncio.create_task(demo.run())
        for number in (1, 2):
            await complete(storage, f"order::{number}")
        step = Work("order::1", "Reserve", runner=1, receipt="a", token=5)
        demo._processes.acknowledged += [step] * PLAN.steps
        async with asyncio.timeout(WAIT_SECONDS):
            await running
    assert (await demo.outcome()).kills == 2


async def complete(storage: AsyncStorage, id: str) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while (order := await storage.get(id)) is None:
            await asyncio.sleep(0.001)
        await storage.update(replace(order, status=Status.COMPLETED))


async def test_where_nothing_goes_on_it_ends_and_says_which_orders_are_lost(
    storage: AsyncStorage, nowhere: Pool[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "STUCK_SECONDS", 0.0)
    demo = Supervisor("", nowhere, storage, PLAN)
    async with asyncio.timeout(WAIT_SECONDS):
        await demo.run()
    outcome = await demo.outcome()
    [broken] = [check for check in outcome.checks if check.against]
    assert broken.promise == "every instance completed"
    assert "order::1" in broken.against
    assert outcome.kills == 0


async def test_an_interrupted_supervisor_leaves_no_runner(
    storage: AsyncStorage, nowhere: Pool[Any]
) -> None:
    demo = Supervisor("", nowhere, storage, PLAN)
    running = asyncio.create_task(demo.run())
    await happens(lambda: demo._processes._running)
    [process] = demo._processes._running.values()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert process.returncode is not None


@pytest.mark.quick
def test_a_courier_sets_an_order_that_waits_to_running() -> None:
    order = courier_came(Instance("order::1", "demo.Order", status=Status.WAITING))
    assert order.status is Status.RUNNING
    [entry] = order.execution_history
    assert (entry.step_ref, entry.event) == ("demo.Collect", "the courier came")
