from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import ClaimLostError, Instance, Status
from hephaestus_pg.demo import runner
from hephaestus_pg.demo.checks import STEPS
from hephaestus_pg.demo.runner import (
    REFERENCES,
    Charge,
    Collect,
    Notify,
    Order,
    Pack,
    Reserve,
    ready,
    run,
    with_step_completed,
)
from hephaestus_pg.demo.supervisor import courier_came
from hephaestus_pg.demo.witness import ledger
from tests.support.catalog import WAIT_SECONDS

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from asyncpg import Pool

    from hephaestus_pg import AsyncStorage
    from tests.support.starting import Start

pytestmark = pytest.mark.quick


@pytest.fixture
async def first(start: Start) -> AsyncStorage:
    return await start(references=REFERENCES)


@pytest.fixture
async def second(start: Start) -> AsyncStorage:
    """The storage of another process, as it were."""
    return await start(references=REFERENCES)


async def test_an_order_runs_until_it_waits_and_to_its_end_once_the_courier_came(
    storage: AsyncStorage, first: AsyncStorage, world: Pool[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    await first.insert(Instance.new(Order, {}, id="order::1"))
    async with first.runner(workflows=[Order]) as owner:
        await run(first, world, 1, await anext(owner.claims()))
        order = await first.get("order::1")
        assert order is not None
        assert (order.status, order.runner) == (Status.WAITING, None)
        assert order.completed_steps == {Reserve, Charge, Pack}
        await storage.modify(order.id, courier_came)
        await run(first, world, 1, await anext(owner.claims()))
    order = await first.get("order::1")
    assert order is not None
    assert (order.status, order.runner) == (Status.COMPLETED, None)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [what[0] for what in told].count("claimed") == 2
    taken, refused = await ledger(world)
    acknowledged = [what for event, *what in told if event == "acknowledged"]
    assert sorted(acknowledged) == sorted([*work] for work in taken)
    assert refused == []
    assert {work.receipt for work in taken} == {
        result["receipt"] for result in order.context.steps.values()
    }


async def test_a_frozen_runners_effect_after_its_lease_is_refused_and_its_claim_lost(
    first: AsyncStorage,
    second: AsyncStorage,
    world: Pool[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await first.insert(Instance.new(Order, {}, id="order::1"))
    pausing, thawed = asyncio.Event(), asyncio.Event()

    async def frozen() -> None:
        pausing.set()
        await thawed.wait()

    async with (
        first.runner(workflows=[Order], lease=60) as dead,
        second.runner(workflows=[Order], lease=60, retry_after=lambda _: 0) as alive,
    ):
        with monkeypatch.context() as patch:
            patch.setattr(runner, "_pause", frozen)
            zombie = asyncio.create_task(run(first, world, 1, await anext(dead.claims())))
            await pausing.wait()
        # Its lease ends, and it is too frozen to know.
        await world.execute(
            "UPDATE workflow_runners SET expires_at = now() - interval '1 s' WHERE token = $1",
            dead.token,
        )
        await run(second, world, 2, await anext(alive.claims()))
        thawed.set()
        with pytest.raises(ClaimLostError):
            await zombie
    taken, refused = await ledger(world)
    assert [(work.step, work.runner) for work in refused] == [("Reserve", 1)]
    assert {(work.step, work.runner) for work in taken} == {
        (step.__name__, 2) for step in (Reserve, Charge, Pack)
    }
    assert '"Reserve", 1,' not in capsys.readouterr().out


def test_the_runner_takes_steps_in_their_order() -> None:
    assert ready(frozenset()) == {Reserve}
    assert ready(frozenset({Reserve})) == {Charge, Pack}
    assert ready(frozenset({Reserve, Charge})) == {Pack}
    assert ready(frozenset({Reserve, Charge, Pack})) == {Collect}
    assert ready(frozenset(Order.steps)) == frozenset()


def test_a_completed_step_is_all_in_the_instance() -> None:
    order = Instance.new(Order, {}, id="order::1")
    order = with_step_completed(order, Reserve, {"receipt": "1"})
    assert order.status is Status.RUNNING
    assert order.active_steps == {Charge, Pack}
    assert order.context.steps == {"Reserve": {"receipt": "1"}}
    statuses = []
    for step in (Charge, Pack, Collect, Notify):
        order = with_step_completed(order, step, {})
        statuses.append(order.status)
    assert statuses == [Status.RUNNING, Status.WAITING, Status.RUNNING, Status.COMPLETED]
    assert order.active_steps == frozenset()
    assert [entry.step_ref for entry in order.execution_history] == list(Order.steps)


def test_the_runner_has_the_steps_that_the_checks_ask_for() -> None:
    assert {REFERENCES.to_name(step) for step in Order.steps} == {f"demo.{step}" for step in STEPS}


@asynccontextmanager
async def process_of(dsn: str, storage: AsyncStorage, *, lease: int) -> AsyncIterator[Process]:
    """Runner 1 in a process of its own, which owns an order, for ``WAIT_SECONDS`` at most."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hephaestus_pg.demo.runner", storage.schema, "1", str(lease)),
        env=os.environ | {"HEPHAESTUS_PG_DSN": dsn},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await storage.insert(Instance.new(Order, {}, id="order::1"))
            while await storage.query(runner=None):
                await asyncio.sleep(0.001)
            yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_at_sigterm_it_gives_back_what_it_owns_and_ends_well(
    dsn: str, first: AsyncStorage, world: Pool[Any]
) -> None:
    async with process_of(dsn, first, lease=60) as process:
        process.terminate()
        _, said = await process.communicate()
    assert (process.returncode, said) == (0, b"")
    assert await first.runners() == []
    order = await first.get("order::1")
    assert order is not None
    assert order.runner is None


async def test_frozen_past_its_lease_it_does_nothing_more_to_its_order_and_ends(
    dsn: str, first: AsyncStorage, world: Pool[Any]
) -> None:
    async with process_of(dsn, first, lease=1) as process:
        process.send_signal(signal.SIGSTOP)
        while await first.runners():
            await asyncio.sleep(0.01)
        async with first.runner(workflows=[Order], retry_after=lambda _: 0) as alive:
            async for claim in alive.claims():
                await run(first, world, 2, claim)
                break
        before = await first.get("order::1")
        process.send_signal(signal.SIGCONT)
        assert await process.wait() == os.EX_TEMPFAIL
    assert before is not None
    # For the courier, and not until the moment that its attempts left: that has come already.
    assert (before.status, before.due_at) == (Status.WAITING, None)
    assert await first.get("order::1") == before
    taken, refused = await ledger(world)
    assert [work.runner for work in taken] == sorted(work.runner for work in taken)
    assert {work.runner for work in refused} <= {1}
