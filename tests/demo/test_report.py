from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hephaestus_pg import (
    Context,
    ExecutionEntry,
    Instance,
    Status,
)
from hephaestus_pg.demo import report
from hephaestus_pg.demo.checks import TWO_OWNERS, Check
from hephaestus_pg.demo.report import Outcome
from hephaestus_pg.demo.witness import Ledger, Work

pytestmark = pytest.mark.quick

MOMENT = datetime(2026, 1, 31, 12, 30, 5, 70_000, tzinfo=UTC)
DONE = [
    Work("order::1", "Reserve", runner=1, receipt="a", token=1),
    Work("order::1", "Collect", runner=2, receipt="b", token=2),
]
CUT_OFF = Work("order::1", "Collect", runner=1, receipt="c", token=1)
ORDER = Instance(
    "order::1",
    "demo.Order",
    status=Status.COMPLETED,
    context=Context({}, {work.step: {"runner": work.runner} for work in DONE}),
    completed_steps=frozenset({"demo.Reserve", "demo.Collect"}),
    execution_history=(
        ExecutionEntry("demo.Reserve", "completed", MOMENT),
        ExecutionEntry("demo.Collect", "the courier came", MOMENT + timedelta(seconds=1)),
        ExecutionEntry("demo.Collect", "completed", MOMENT + timedelta(seconds=2)),
    ),
    inserted_at=MOMENT,
)
OUTCOME = Outcome(
    orders=[ORDER],
    ledger=Ledger([CUT_OFF, *DONE], refused=[CUT_OFF]),
    acknowledged=DONE[1:],
    checks=[Check("no acknowledged step lost", [])],
    kills=1,
    freezes=2,
    expired=1,
    waits=[0.5, 2.24],
    lease=2,
    seconds=2.0,
)


def test_the_table_counts_orders_writes_and_steps_and_ends_with_the_promises() -> None:
    assert report.rows(OUTCOME) == [
        ("orders completed", "1"),
        ("runners killed", "1"),
        ("runners frozen past their lease", "2"),
        ("runners too slow for their lease", "1"),
        ("orders taken over", "2"),
        ("longest wait for a new owner", "2.2 s, with a lease of 2 s"),
        ("writes", "4"),
        ("writes per second", "2, at the pace of these orders"),
        ("steps recorded in the table", "2"),
        ("steps acknowledged", "1"),
        ("unacknowledged steps run again", "1"),
        ("effects that the witness took", "3"),
        ("effects that it refused as too late", "1"),
        ("steps run by two owners at once", "0"),
        ("no acknowledged step lost", "yes"),
    ]


def test_steps_that_had_two_owners_are_counted() -> None:
    broken = replace(OUTCOME, checks=[Check(TWO_OWNERS, ["a", "b"])])
    assert ("steps run by two owners at once", "2") in report.rows(broken)
    assert (TWO_OWNERS, "no: 2, such as a; b") in report.rows(broken)


def test_it_explains_why_fewer_steps_are_acknowledged_than_recorded_and_some_run_again() -> None:
    _, unheard, again, leases = report.meaning(OUTCOME)
    assert unheard.startswith("Recorded, not acknowledged: 1.")
    assert again.startswith("Run again: 1.")
    assert "until its lease ends" in leases


def test_where_nothing_was_cut_off_nothing_is_explained() -> None:
    quiet = replace(OUTCOME, ledger=Ledger(DONE, []), acknowledged=DONE, waits=[])
    [what_the_words_mean] = report.meaning(quiet)
    assert "recorded" in what_the_words_mean


def test_an_orders_life_tells_who_did_each_step_and_how_often() -> None:
    assert list(report.life(ORDER, OUTCOME.ledger.taken)) == [
        "12:30:05      inserted",
        "12:30:05.070  Reserve completed by runner 1",
        "12:30:06.070  Collect: the courier came",
        (
            "12:30:07.070  Collect completed by runner 2, which went on from the table "
            "(run 2 times, recorded once)"
        ),
    ]


def test_the_order_that_most_runners_had_a_part_in_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = replace(ORDER, id="order::2", context=Context({}, {"Reserve": {"runner": 1}}))
    other = replace(other, execution_history=ORDER.execution_history[:1])
    report.show(replace(OUTCOME, orders=[other, ORDER]), title="2 orders")
    shown = capsys.readouterr().out
    assert "order::1, step by step" in shown
    assert shown.index("2 orders") < shown.index("step by step") < shown.index("What next:")


def test_a_broken_promise_is_answered_with_some_of_the_evidence() -> None:
    assert report._answer([]) == "yes"
    assert report._answer(["a", "b", "c", "d"]) == "no: 4, such as a; b; c"
