from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from hephaestus_pg import RunnerInfo, Summary
from hephaestus_pg.commands.owners import Owners, plain

pytestmark = pytest.mark.quick

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
TOKEN, DEAD = UUID(int=7), UUID("12345678-0000-0000-0000-000000000000")
OWNERS = Owners(
    NOW, {TOKEN: RunnerInfo(TOKEN, "worker-7", ("W",), NOW, NOW + timedelta(seconds=25), 1)}
)


def test_an_owner_is_named_if_it_lives() -> None:
    assert [OWNERS.name(token) for token in (TOKEN, DEAD, None)] == ["worker-7", None, None]
    assert [OWNERS.short(token) for token in (TOKEN, DEAD, None)] == [
        *("worker-7", "dead (12345678)", "")
    ]
    assert [OWNERS.long(token) for token in (TOKEN, DEAD, None)] == [
        f"worker-7 ({TOKEN}), lease 25s left",
        f"a runner that is dead ({DEAD})",
        "nobody",
    ]


def test_columns_become_plain_data() -> None:
    summary = Summary("x", "W", 1, "failed", None, 9, 8, TOKEN, 2, None, NOW, NOW)
    assert plain(summary, OWNERS) == {
        "id": "x",
        "workflow": "W",
        "workflow_version": 1,
        "status": "failed",
        "current_step": None,
        "state_bytes": 9,
        "revision": 8,
        "runner": str(TOKEN),
        "attempts": 2,
        "due_at": None,
        "inserted_at": "2026-01-31T12:00:00+00:00",
        "updated_at": "2026-01-31T12:00:00+00:00",
        "runner_name": "worker-7",
    }
