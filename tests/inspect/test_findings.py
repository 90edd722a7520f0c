from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from hephaestus_pg.inspect import findings

pytestmark = pytest.mark.quick

ROW: dict[str, Any] = {
    "id": "a",
    "workflow": "Order",
    "status": "running",
    "workflow_version": 2,
    "current_step": "Charge",
    "state_bytes": 10,
    "revision": "7",
    "inserted_at": "0",
    "updated_at": "60",
    "due_at": "0.5",
    "runner": str(UUID(int=1)),
    "attempts": 3,
}


def test_a_row_becomes_a_summary_with_aware_moments() -> None:
    summary = findings.summary(ROW)  # type: ignore[arg-type]

    assert (summary.revision, summary.runner, summary.attempts) == (7, UUID(int=1), 3)
    assert summary.updated_at == datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    assert summary.due_at == datetime(1970, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)


def test_what_is_given_to_nobody_any_more_has_no_due_moment() -> None:
    row = {**ROW, "due_at": "Infinity", "runner": None}
    summary = findings.summary(row)  # type: ignore[arg-type]

    assert (summary.due_at, summary.runner) == (None, None)


def test_what_is_stuck_has_its_reason_and_since_when() -> None:
    row = {**ROW, "reason": "orphaned", "since": "60"}
    stuck = findings.stuck(row)  # type: ignore[arg-type]

    assert (stuck.reason, stuck.since) == ("orphaned", stuck.summary.updated_at)


@pytest.mark.parametrize("seconds", ("Infinity", "-Infinity", "1e12", "-1e12"))
def test_a_moment_that_python_does_not_know_hides_no_row(seconds: str) -> None:
    row = {name: seconds if name.endswith("_at") else value for name, value in ROW.items()}
    stuck = findings.stuck({**row, "reason": "unclaimed", "since": seconds})  # type: ignore[arg-type]

    summary = stuck.summary
    assert (summary.id, stuck.since, summary.due_at) == ("a", None, None)
    assert (summary.inserted_at, summary.updated_at) == (None, None)
