from __future__ import annotations

from dataclasses import replace

import pytest

from hephaestus_pg import (
    Context,
    Instance,
    Status,
)
from hephaestus_pg.demo.checks import STEPS, Check, Work, checks

pytestmark = pytest.mark.quick

WORK = [
    Work("order::1", step, runner=1, receipt=f"receipt of {step}", revision=1 + number)
    for number, step in enumerate(sorted(STEPS), start=1)
]
ORDER = Instance(
    "order::1",
    "demo.Order",
    status=Status.COMPLETED,
    context=Context({}, {work.step: {"receipt": work.receipt, "runner": 1} for work in WORK}),
)


def broken(found: list[Check]) -> list[str]:
    return [promise for promise, against in found if against]


def test_kept_promises_pass() -> None:
    assert broken(checks([ORDER], WORK, WORK)) == []


def test_an_order_that_is_not_complete_breaks_a_promise() -> None:
    running = replace(ORDER, status=Status.RUNNING)
    assert broken(checks([running], WORK, WORK)) == ["every instance completed"]
    steps = {"Reserve": ORDER.context.steps["Reserve"]}
    short = replace(ORDER, context=Context({}, steps))
    assert "every instance completed" in broken(checks([short], WORK, []))


def test_an_acknowledged_step_with_another_result_is_lost() -> None:
    forged = ORDER.context.put_step_result("Charge", {"receipt": "another", "runner": 2})
    found = checks([replace(ORDER, context=forged)], WORK, WORK)
    assert broken(found) == ["no acknowledged step lost"]
    assert "Charge of order::1 by runner 1" in found[1].against


def test_a_loss_seen_at_a_kill_counts_though_it_was_made_good() -> None:
    assert broken(checks([ORDER], WORK, WORK, [WORK[0]])) == ["no acknowledged step lost"]


def test_one_who_read_the_order_after_the_step_was_recorded_must_not_run_it_again() -> None:
    again = WORK[0]._replace(runner=2, receipt="another")
    assert broken(checks([ORDER], [*WORK, again], WORK)) == ["no acknowledged step run again"]


def test_one_who_acknowledged_the_step_must_not_run_it_again_whatever_it_read() -> None:
    again = WORK[0]._replace(receipt="another", revision=1)
    assert broken(checks([ORDER], [*WORK, again], WORK)) == ["no acknowledged step run again"]


def test_several_may_run_a_step_at_once_but_only_one_may_acknowledge_it() -> None:
    at_once = WORK[0]._replace(runner=2, receipt="another", revision=1)
    assert broken(checks([ORDER], [at_once, *WORK], WORK)) == []
    found = checks([ORDER], [at_once, *WORK], [*WORK, at_once])
    assert broken(found) == ["no acknowledged step lost", "no step acknowledged twice"]


def test_work_that_a_kill_cut_off_may_be_run_again() -> None:
    cut_off = WORK[0]._replace(runner=0, receipt="cut off", revision=1)
    assert broken(checks([ORDER], [cut_off, *WORK], WORK)) == []
