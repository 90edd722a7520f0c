from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    Instance,
    Status,
)
from hephaestus_pg.demo.checks import STEPS
from hephaestus_pg.demo.runner import (
    REFERENCES,
    Charge,
    Collect,
    Notify,
    Order,
    Pack,
    Reserve,
    Run,
    ready,
    waiting,
    with_step_completed,
)
from hephaestus_pg.demo.supervisor import TABLES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.quick


@pytest.fixture
async def runs(dsn: str, migrated: str) -> AsyncIterator[list[Run]]:
    """Two runners' runs of one order."""
    async with (
        asyncpg.create_pool(dsn, min_size=1, server_settings={"search_path": migrated}) as pool,
        AsyncStorage.start(
            pool=pool, name=migrated, schema=migrated, references=REFERENCES
        ) as storage,
    ):
        await pool.execute(TABLES)
        order = await storage.insert(Instance.new(Order, {}, id="order::1"))
        yield [Run(storage, pool, runner, order) for runner in (1, 2)]


async def test_of_two_runners_that_do_a_step_at_once_one_records_it(
    runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    await asyncio.gather(*(run.run_step(Reserve) for run in runs))
    [refused, acknowledged] = sorted(
        (json.loads(line) for line in capsys.readouterr().out.splitlines()), key=len
    )
    assert refused == ["refused"]
    order = runs[0]._order
    assert order == runs[1]._order
    assert order.completed_steps == {Reserve}
    result = order.context.steps["Reserve"]
    assert acknowledged == ["acknowledged", "order::1", "Reserve", *result.values(), order.revision]
    assert await runs[0]._pool.fetchval("SELECT count(*) FROM demo_ledger") == 2


async def test_a_step_that_another_runner_did_while_this_one_waited_is_left_alone(
    runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    slow, fast = runs
    await fast.update(Collect, lambda order: with_step_completed(order, Collect, {}))
    await fast._pool.execute("INSERT INTO demo_events VALUES ('order::1')")
    await slow.run_step(Collect)
    assert slow._order.status is Status.RUNNING
    assert capsys.readouterr().out == '["refused"]\n'
    assert await slow._pool.fetchval("SELECT count(*) FROM demo_ledger") == 0


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
    for step in (Charge, Pack, Collect, Notify):
        order = with_step_completed(order, step, {})
    assert order.status is Status.COMPLETED
    assert order.active_steps == frozenset()
    assert [entry.step_ref for entry in order.execution_history] == list(Order.steps)


def test_a_wait_is_in_the_history_and_completes_nothing() -> None:
    order = waiting(Instance.new(Order, {}, id="order::1"), Collect)
    assert order.status is Status.WAITING
    assert order.completed_steps == frozenset()
    assert [(entry.step_ref, entry.event) for entry in order.execution_history] == [
        (Collect, "began to wait")
    ]


def test_the_runner_has_the_steps_that_the_checks_ask_for() -> None:
    assert {REFERENCES.to_name(step) for step in Order.steps} == {f"demo.{step}" for step in STEPS}
