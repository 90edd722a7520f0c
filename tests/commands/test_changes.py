from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from hephaestus_pg import Context, ExecutionEntry
from hephaestus_pg.commands.changes import changes
from tests.support.instances import order

pytestmark = pytest.mark.quick

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def changed(initial: Any, *updates: Any) -> list[list[str]]:
    history = tuple(ExecutionEntry("step", "done", NOW, each) for each in updates)
    return changes(order(context=Context(initial), execution_history=history))


def test_what_was_not_there_is_added_and_what_was_is_changed() -> None:
    assert changed({"amount": 99}, {"amount": 98, "receipt": "r"}, {"receipt": "s"}) == [
        ["~ amount: 99 -> 98", '+ receipt: "r"'],
        ['~ receipt: "r" -> "s"'],
    ]


def test_what_stays_as_it_is_is_no_change() -> None:
    assert changed({"amount": 99}, {"amount": 99}, None, {}) == [[], [], []]


def test_a_map_is_compared_key_by_key() -> None:
    assert changed({"to": {"city": "Köln"}}, {"to": {"city": "Bonn", "zip": "5"}}) == [
        ['~ to.city: "Köln" -> "Bonn"', '+ to.zip: "5"'],
    ]


@pytest.mark.parametrize(("before", "after"), ((1, True), (1, 1.0), ({"a": 1}, {}), ({}, [])))
def test_values_that_python_takes_for_equal_are_told_apart(before: Any, after: Any) -> None:
    [[line]] = changed({"it": before}, {"it": after})
    assert line.startswith("~ it: ")


def test_hostile_texts_are_escaped() -> None:
    [[line]] = changed({}, {"k\x1b[2J\u202e": "v\x9b2J\x1b\n\u2028"})
    assert line == r'+ k\x1b[2J\u202e: "v\x9b2J\u001b\n\u2028"'
