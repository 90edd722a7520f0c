from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import Instance
from tests.commands.conftest import EXHAUSTED, LEFT
from tests.support.instances import order

if TYPE_CHECKING:
    from tests.commands.conftest import Change, Do
    from tests.support.commands import Run

pytestmark = pytest.mark.quick

HOSTILE = "order::\x1b[2J\u202e\r\n"


@pytest.fixture
def filled(do: Do, change: Change) -> None:
    """One that was given up, one that nobody has claimed for three hours, and a new one."""
    do(
        lambda storage: storage.put_many(
            [order("order::given_up"), order("order::left"), Instance.new("W", {}, id=HOSTILE)]
        )
    )
    since = "timezone('UTC', now()) - interval '2 days 1 hour'"
    change(f"{EXHAUSTED}, updated_at = {since}", "order::given_up")
    change(LEFT, "order::left")


@pytest.mark.usefixtures("filled")
def test_what_is_stuck_is_found_with_its_reason(run: Run) -> None:
    code, out, err = run("stuck")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["id", "workflow", "status", "reason", "since", "owner"],
        ["order::given_up", "Order", "pending", "exhausted", "2d"],
        ["order::left", "Order", "pending", "unclaimed", "3h"],
    ]


@pytest.mark.usefixtures("filled")
def test_older_than_says_since_when(run: Run) -> None:
    assert run("stuck", "--older-than", "1d")[1].count("order::") == 1
    assert run("stuck", "--older-than", "3d") == (1, "", "nothing is stuck\n")
    assert run("stuck", "--limit", "1")[1].count("order::") == 1


@pytest.mark.usefixtures("filled")
def test_json_is_an_object_a_line(run: Run, migrated: str) -> None:
    code, out, _ = run("stuck", "--json")
    assert code == 0
    first, second = map(json.loads, out.splitlines())
    assert (first["schema"], first["id"], first["reason"]) == (
        migrated,
        "order::given_up",
        "exhausted",
    )
    assert re.fullmatch(r"20\d\d-\S+\+00:00", second["since"])
    assert [*first] == [*second]


@pytest.mark.usefixtures("filled")
def test_hostile_ids_are_escaped(run: Run) -> None:
    out = run("stuck", "--older-than", "0s")[1]
    assert r"order::\x1b[2J\u202e\r\n  W" in out
    assert "\x1b" not in run("stuck", "--older-than", "0s", "--json")[1]


def test_nothing_is_stuck_where_nothing_is(run: Run) -> None:
    assert run("stuck") == (1, "", "nothing is stuck\n")


@pytest.mark.parametrize("age", ("soon", "-1d", "2026-01-31", "", "9999999999w"))
def test_another_age_is_refused(run: Run, age: str) -> None:
    code, out, err = run("stuck", f"--older-than={age}")
    assert (code, out, err.count("\n")) == (2, "", 1)
