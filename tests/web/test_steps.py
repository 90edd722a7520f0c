"""The steps of an instance, and the time that each has taken."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hephaestus_pg import ExecutionEntry, Status
from hephaestus_pg.web.steps import steps, waits
from tests.support.instances import order

pytestmark = pytest.mark.quick

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
NOW = START + timedelta(minutes=10)


def entries(*given: tuple[str, str, int]) -> tuple[ExecutionEntry, ...]:
    return tuple(
        ExecutionEntry(step, event, START + timedelta(minutes=minutes))
        for step, event, minutes in given
    )


def drawn(**fields: Any) -> list[tuple[str, str, float | None]]:
    """The steps, each with its minutes."""
    instance = order(**{"status": Status.RUNNING, "inserted_at": START, **fields})
    return [
        (each.name, each.progress, None if each.took is None else each.took / timedelta(minutes=1))
        for each in steps(instance, NOW)
    ]


def test_without_a_step_there_is_nothing_to_draw() -> None:
    assert drawn() == []


def test_a_step_lasts_from_its_first_entry_to_its_last() -> None:
    history = entries(("a", "started", 1), ("b", "started", 2), ("a", "tried", 3), ("a", "done", 6))
    assert drawn(execution_history=history, completed_steps=frozenset("a")) == [
        ("a", "done", 5.0),
        ("b", "waiting", 1.0),
    ]


def test_a_step_with_one_entry_lasts_from_the_entry_before_it() -> None:
    history = entries(("a", "done", 1), ("b", "done", 4))
    assert drawn(execution_history=history, completed_steps=frozenset("ab")) == [
        ("a", "done", 1.0),  # since the instance was inserted
        ("b", "done", 3.0),
    ]


def test_an_active_step_lasts_until_now() -> None:
    history = entries(("a", "done", 4), ("b", "started", 5))
    fields = {"execution_history": history, "completed_steps": frozenset("a")}
    assert drawn(**fields, current_step="b")[1] == ("b", "active", 5.0)
    assert drawn(**fields, active_steps=frozenset("c"))[2] == ("c", "active", 5.0)
    assert drawn(current_step="a") == [("a", "active", 10.0)]


def test_an_active_step_of_one_that_ended_lasts_until_then() -> None:
    ended = {"status": Status.FAILED, "updated_at": START + timedelta(minutes=3)}
    assert drawn(current_step="a", **ended) == [("a", "active", 3.0)]


def test_a_step_without_an_entry_has_no_time() -> None:
    assert drawn(completed_steps=frozenset("ba"), step_configs={"c": {}, "a": {}}) == [
        ("a", "done", None),
        ("b", "done", None),
        ("c", "waiting", None),
    ]


def test_clocks_that_differ_make_no_time_negative() -> None:
    history = entries(("a", "started", 5), ("a", "done", 2))
    assert drawn(execution_history=history, completed_steps=frozenset("a")) == [("a", "done", 0.0)]


def test_each_has_its_place_in_the_time_of_all() -> None:
    history = entries(("a", "started", 0), ("a", "done", 2), ("b", "started", 5))
    [a, b] = steps(
        order(
            status=Status.RUNNING,
            execution_history=history,
            completed_steps=frozenset("a"),
            current_step="b",
        ),
        NOW,
    )
    assert (a.left, a.width, b.left, b.width) == (0, 20, 50, 50)


def test_an_entry_comes_with_the_time_since_the_one_before() -> None:
    instance = replace(order(), execution_history=entries(("a", "x", 0), ("a", "y", 2)))
    assert [after for _, after in waits(instance)] == [None, timedelta(minutes=2)]
    assert waits(order()) == []
