from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import Instance, Status
from hephaestus_pg.inspect import looking
from tests.commands.conftest import EXHAUSTED, LEFT
from tests.support.instances import order

if TYPE_CHECKING:
    from tests.commands.conftest import Change, Do
    from tests.support.commands import Run

pytestmark = pytest.mark.quick


@pytest.fixture
def filled(do: Do, change: Change) -> None:
    do(
        lambda storage: storage.put_many(
            [
                *(order(f"order::{number}") for number in range(3)),
                order("order::3", status=Status.FAILED),
                Instance.new("\x1b[2J\u202e\n", {}, id="other::1"),
            ]
        )
    )
    change("runner = '0191e0a4-5b0c-7d3e-8f00-000000000001'", "order::0")
    change(EXHAUSTED, "order::1")
    change(LEFT, "order::2")


@pytest.mark.usefixtures("filled")
def test_it_counts_by_workflow_and_status(run: Run) -> None:
    code, out, err = run("stats")
    assert (code, err) == (0, "")
    counts, totals = out.split("\n\n")
    head, hostile, orders = counts.splitlines()
    assert head.split()[:-2] == ["workflow", *Status]
    assert hostile.startswith(r"\x1b[2J\u202e\n ")
    assert orders.split() == ["Order", "3", "0", "0", "0", "1", "3h"]
    assert [line.split() for line in totals.splitlines()] == [
        ["owned", "orphaned", "exhausted", "runners"],
        ["1", "1", "1", "0"],
    ]


@pytest.mark.usefixtures("filled")
def test_estimates_are_marked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "EXACT_UP_TO", 2)
    rows = [line.split() for line in run("stats")[1].splitlines()]
    assert ["Order", "~3", "0", "0", "0", "1", "3h"] in rows


@pytest.mark.usefixtures("filled")
def test_json_is_an_object_a_schema(run: Run, migrated: str) -> None:
    code, out, _ = run("stats", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["schema"] == migrated
    assert found["instances"][-1] == {
        "workflow": "Order",
        "status": "pending",
        "instances": 3,
        "is_exact": True,
    }
    assert next(iter(found["claimable_since"])) == "Order"
    assert [found[name] for name in ("owned", "orphaned", "exhausted", "runners")] == [1, 1, 1, 0]
    assert "\x1b" not in out


def test_an_empty_table_is_a_no(run: Run) -> None:
    assert run("stats") == (1, "", "there are no instances\n")
