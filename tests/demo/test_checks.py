from __future__ import annotations

from dataclasses import replace

import pytest

from hephaestus_pg import (
    Context,
    Instance,
    Status,
)
from hephaestus_pg.demo.checks import STEPS, TWO_OWNERS, Check, checks
from hephaestus_pg.demo.witness import Ledger, Work

pytestmark = pytest.mark.quick

WORK = [
    Work("order::1", step, runner=1, receipt=f"receipt of {step}", token=5)
    for step in sorted(STEPS)
]
ORDER = Instance(
    "order::1",
    "demo.Order",
    status=Status.COMPLETED,
    context=Context({}, {work.step: {"receipt": work.receipt, "runner": 1} for work in WORK}),
)


def broken(found: list[Check]) -> list[str]:
    return [promise for promise, against in found if against]


def took(*taken: Work, refused: tuple[Work, ...] = ()) -> Ledger:
    return Ledger(list(taken), list(refused))


def test_kept_promises_pass() -> None:
    assert broken(checks([ORDER], took(*WORK), WORK)) == []


def test_an_order_that_is_not_complete_breaks_a_promise() -> None:
    running = replace(ORDER, status=Status.RUNNING)
    assert broken(checks([running], took(*WORK), WORK)) == ["every instance completed"]
    steps = {"Reserve": ORDER.context.steps["Reserve"]}
    short = replace(ORDER, context=Context({}, steps))
    assert "every instance completed" in broken(checks([short], took(*WORK), []))


def test_an_acknowledged_step_with_another_result_is_lost() -> None:
    forged = ORDER.context.put_step_result("Charge", {"receipt": "another", "runner": 2})
    found = checks([replace(ORDER, context=forged)], took(*WORK), WORK)
    assert broken(found) == ["no acknowledged step lost"]
    assert "Charge of order::1 by runner 1" in found[1].against


def test_an_order_that_is_gone_is_lost_with_its_steps() -> None:
    [lost] = [each for each in checks([], took(*WORK), WORK) if each.against]
    assert lost.promise == "no acknowledged step lost"
    assert len(lost.against) == len(STEPS)


def test_a_loss_seen_at_a_kill_counts_though_it_was_made_good() -> None:
    found = checks([ORDER], took(*WORK), WORK, lost_at_a_kill=[WORK[0]])
    assert broken(found) == ["no acknowledged step lost"]


def test_one_who_claimed_the_order_after_the_step_was_recorded_must_not_run_it_again() -> None:
    again = WORK[0]._replace(runner=2, receipt="another", token=6)
    found = checks([ORDER], took(*WORK, again), WORK, ended={1})
    assert broken(found) == ["no acknowledged step run again"]


def test_one_who_acknowledged_the_step_must_not_run_it_again() -> None:
    again = WORK[0]._replace(receipt="another")
    found = checks([ORDER], took(*WORK, again), WORK)
    assert broken(found) == ["no acknowledged step run again"]


def test_a_step_is_acknowledged_once() -> None:
    cut_off = WORK[0]._replace(runner=2, receipt="another", token=4)
    found = checks([ORDER], took(cut_off, *WORK), [*WORK, cut_off], ended={2})
    assert broken(found) == ["no acknowledged step lost", "no step acknowledged twice"]


def test_work_that_a_kill_cut_off_may_be_run_again() -> None:
    cut_off = WORK[0]._replace(runner=2, receipt="cut off", token=4)
    assert broken(checks([ORDER], took(cut_off, *WORK), WORK, ended={2})) == []


def test_a_step_that_another_runs_while_its_owner_lives_has_two_owners() -> None:
    other = WORK[0]._replace(runner=2, receipt="another", token=4)
    found = checks([ORDER], took(other, *WORK), WORK, ended={3})
    assert broken(found) == [TWO_OWNERS]
    assert found[-1].against == [str(WORK[0])]


def test_an_effect_after_that_of_a_later_owner_has_two_owners_even_of_a_dead_runner() -> None:
    late = WORK[0]._replace(step="Notify", runner=2, receipt="late", token=4)
    assert broken(checks([ORDER], took(*WORK, late), WORK, ended={1, 2})) == [TWO_OWNERS]


def test_one_token_of_two_runners_has_two_owners() -> None:
    shared = [WORK[0], *(work._replace(runner=2) for work in WORK[1:])]
    assert TWO_OWNERS in broken(checks([ORDER], took(*shared), []))


def test_a_refused_effect_is_that_of_a_runner_that_has_ended() -> None:
    late = WORK[0]._replace(runner=2, receipt="late", token=4)
    ledger = took(*WORK, refused=(late,))
    assert broken(checks([ORDER], ledger, WORK, ended={2})) == []
    assert broken(checks([ORDER], ledger, WORK, ended={1})) == [TWO_OWNERS]
