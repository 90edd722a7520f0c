from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    ClaimLostError,
    Instance,
    InvalidTypeError,
    InvalidValueError,
    LifecycleError,
    RunnerEndedError,
    Status,
)
from hephaestus_pg.testing import Clock, Faults, drain
from tests.support.lag import happens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hephaestus_pg import AsyncStorage, Claim, Runner

    Step = Callable[[Instance], Awaitable[object]]

SIZES = (1, 5)
"""Tasks that iterate over the claims."""


def loop(step: Step, tasks: int = 1) -> Callable[[Runner], Awaitable[None]]:
    """A worker of so many tasks, each of which does the step with each claim that it is given."""

    async def one(runner: Runner) -> None:
        async for claim in runner.claims():
            async with claim as instance:
                await step(instance)

    async def work(runner: Runner) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(one(runner))

    return work


def completing(storage: AsyncStorage) -> Step:
    async def complete(instance: Instance) -> None:
        await storage.update(replace(instance, status=Status.COMPLETED))

    return complete


async def fill(storage: AsyncStorage, number: int) -> None:
    await storage.put_many([Instance(f"order::{each}", "Order") for each in range(number)])


async def done(storage: AsyncStorage) -> int:
    return await storage.count(status=Status.COMPLETED)


@pytest.mark.parametrize("tasks", SIZES)
async def test_it_runs_what_is_due_until_nothing_is(storage: AsyncStorage, tasks: int) -> None:
    await fill(storage, 30)
    async with storage.runner(workflows=["Order"]) as runner:
        assert await drain(runner, loop(completing(storage), tasks)) == 30
        assert await drain(runner, loop(completing(storage), tasks)) == 0
    assert await done(storage) == 30


@pytest.mark.parametrize("tasks", SIZES)
async def test_what_the_bodies_make_is_done_too(storage: AsyncStorage, tasks: int) -> None:
    async def grow(instance: Instance) -> None:
        depth = len(instance.id)
        if depth < 5:
            await storage.insert(Instance(f"{instance.id}l", "Order"))
            await storage.insert(Instance(f"{instance.id}r", "Order"))
        await storage.update(replace(instance, status=Status.COMPLETED))

    await storage.insert(Instance("x", "Order"))
    async with storage.runner(workflows=["Order"]) as runner:
        assert await drain(runner, loop(grow, tasks)) == 31
    assert await done(storage) == 31


async def test_an_instance_is_done_for_a_body_that_waits_for_it(storage: AsyncStorage) -> None:
    async def parent_first(instance: Instance) -> None:
        if instance.id == "parent":
            await happens(lambda: faults.tried.count("claim") > 1)  # it found nothing more
            await storage.insert(Instance("child", "Order"))
            async with asyncio.timeout(20):
                await storage.wait("child")
        await storage.update(replace(instance, status=Status.COMPLETED))

    await storage.insert(Instance("parent", "Order"))
    with Faults(storage) as faults:
        async with storage.runner(workflows=["Order"]) as runner:
            assert await drain(runner, loop(parent_first, 2)) == 2


async def test_claims_may_be_handed_to_tasks_of_their_own(storage: AsyncStorage) -> None:
    async def handle(claim: Claim, faults: Faults) -> None:
        await happens(lambda: faults.tried.count("claim") > 1)  # nothing more was found
        async with claim as instance:
            if instance.id == "a":
                await storage.insert(Instance("b", "Order"))
            await storage.update(replace(instance, status=Status.COMPLETED))

    async def work(runner: Runner) -> None:
        with Faults(storage) as faults:
            async with asyncio.TaskGroup() as group:
                async for claim in runner.claims():
                    group.create_task(handle(claim, faults))

    await storage.insert(Instance("a", "Order"))
    async with storage.runner(workflows=["Order"]) as runner:
        assert await drain(runner, work) == 2


async def test_what_is_due_later_is_left_to_the_clock(moved: AsyncStorage) -> None:
    due = await Clock(moved).now() + timedelta(days=1)
    await moved.insert(Instance("later", "Order", status=Status.WAITING, due_at=due))
    async with moved.runner(workflows=["Order"]) as runner:
        work = loop(completing(moved))
        assert await drain(runner, work) == 0
        await Clock(moved).advance(timedelta(days=1))
        assert await drain(runner, work) == 1


async def test_failures_are_tried_again_when_the_backoff_has_passed(moved: AsyncStorage) -> None:
    attempts: list[float] = []

    async def work(runner: Runner) -> None:
        async for claim in runner.claims():
            with suppress(ZeroDivisionError):
                async with claim as instance:
                    attempts.append(1 / len(instance.context.initial))

    await moved.insert(Instance("a", "Order"))
    async with moved.runner(workflows=["Order"], max_attempts=3) as runner:
        for seconds in (0, 2, 4, 8, 16):
            await Clock(moved).advance(seconds)
            attempts.append(await drain(runner, work))
    assert attempts == [1, 1, 1, 0, 0]
    await Clock(moved).advance(timedelta(days=1))
    assert [each.reason for each in await moved.stuck()] == ["exhausted"]


async def test_an_error_of_the_work_comes_out_as_it_is(storage: AsyncStorage) -> None:
    async def fail(instance: Instance) -> None:
        raise ArithmeticError(instance.id)

    async def alone(runner: Runner) -> None:
        async for claim in runner.claims():
            async with claim as instance:
                await fail(instance)

    await fill(storage, 2)
    async with storage.runner(workflows=["Order"]) as runner:
        with pytest.raises(ArithmeticError, match="order::"):
            await drain(runner, alone)
        with pytest.raises(ExceptionGroup) as caught:
            await drain(runner, loop(fail, 3))
        assert isinstance(caught.value.exceptions[0], ArithmeticError)


async def test_after_it_claims_wait_again(storage: AsyncStorage) -> None:
    async def fail(_: Instance) -> None:
        raise ArithmeticError

    await fill(storage, 1)
    async with storage.runner(workflows=["Order"]) as runner:
        with pytest.raises(ExceptionGroup):
            await drain(runner, loop(fail))
        with Faults(storage) as faults:
            waiting = asyncio.create_task(anext(aiter(runner.claims()), None))
            await happens(lambda: faults.tried.count("claim") > 1)
        await storage.insert(Instance("later", "Order"))
        claim = await waiting
        assert claim is not None
        assert claim.id == "later"


@pytest.mark.parametrize("tasks", SIZES)
async def test_one_that_would_not_end_is_an_error(storage: AsyncStorage, tasks: int) -> None:
    async def again(instance: Instance) -> None:
        await storage.update(replace(instance, status=Status.RUNNING))

    await storage.insert(Instance("a", "Order"))
    async with storage.runner(workflows=["Order"]) as runner:
        with pytest.raises(LifecycleError, match="handed out 20 claims, and there is more"):
            await drain(runner, loop(again, tasks), limit=20)
        await happens(lambda: not runner._held)
        assert await storage.count(runner=None) == 1


async def test_as_many_as_the_limit_are_no_error(storage: AsyncStorage) -> None:
    await fill(storage, 20)
    async with storage.runner(workflows=["Order"]) as runner:
        assert await drain(runner, loop(completing(storage), 3), limit=20) == 20


async def test_a_work_that_catches_everything_does_not_hide_that(storage: AsyncStorage) -> None:
    async def work(runner: Runner) -> None:
        try:
            await loop(completing(storage))(runner)
        except Exception:  # noqa: BLE001 - as some do
            return

    await fill(storage, 3)
    async with storage.runner(workflows=["Order"]) as runner:
        with pytest.raises(LifecycleError, match="higher limit="):
            await drain(runner, work, limit=2)


async def test_a_claim_that_fails_is_not_taken_for_the_end(storage: AsyncStorage) -> None:
    with Faults(storage) as faults:
        async with storage.runner(workflows=["Order"]) as runner:
            assert await drain(runner, loop(completing(storage))) == 0
            await fill(storage, 5)
            faults.lose_answer("claim")
            faults.break_connection("claim")
            faults.lose_answer("take_over")
            assert await drain(runner, loop(completing(storage), 2)) == 5


async def test_what_a_crash_has_left_is_done_by_another(storage: AsyncStorage) -> None:
    shipped: list[str] = []
    crashing: list[Runner] = []

    async def work(runner: Runner) -> None:
        async for claim in runner.claims():
            async with claim as order:
                charged = order
                if order.current_step is None:
                    charged = await storage.update(replace(order, current_step="charged"))
                if runner in crashing:
                    await faults.expire_lease(runner)
                    return
                shipped.append(order.id)
                await storage.update(replace(charged, status=Status.COMPLETED))

    await storage.insert(Instance("order::1", "Order"))
    with Faults(storage) as faults:
        async with storage.runner(workflows=["Order"]) as first:
            crashing.append(first)
            with pytest.raises(ClaimLostError):
                await drain(first, work)
        async with storage.runner(workflows=["Order"]) as second:
            assert await drain(second, work) == 1
    assert shipped == ["order::1"]


async def test_others_who_iterate_are_not_ended(storage: AsyncStorage) -> None:
    async with storage.runner(workflows=["Order"], name="worker-7") as runner:
        waiting = asyncio.create_task(anext(aiter(runner.claims()), None))
        await happens(lambda: runner._claiming.is_waited_for)
        with pytest.raises(LifecycleError, match=r"others iterate .* 'worker-7'"):
            await drain(runner, loop(completing(storage)))
        assert not waiting.done()

    async def twice(runner: Runner) -> None:
        await drain(runner, loop(completing(storage)))

    async with storage.runner(workflows=["Order"]) as runner:
        with pytest.raises(LifecycleError, match="others iterate"):
            await drain(runner, twice)
    with pytest.raises(RunnerEndedError):
        await drain(runner, twice)


async def test_what_cannot_be_drained_is_refused(storage: AsyncStorage) -> None:
    wrong: Any = "work"
    with pytest.raises(InvalidTypeError, match="give a started runner"):
        await drain(wrong, loop(completing(storage)))
    async with storage.runner(workflows=["Order"]) as runner:
        with pytest.raises(InvalidTypeError, match="give an async function"):
            await drain(runner, wrong)
        wrong = lambda _: None  # noqa: E731
        with pytest.raises(InvalidTypeError, match="give an async function"):
            await drain(runner, wrong)
        with pytest.raises(InvalidValueError, match="limit is 0"):
            await drain(runner, loop(completing(storage)), limit=0)
