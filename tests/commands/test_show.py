from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import AsyncStorage, ExecutionEntry, Instance, Status
from tests.commands.conftest import EXHAUSTED
from tests.support.instances import order

if TYPE_CHECKING:
    from tests.commands.conftest import Change, Do
    from tests.support.commands import Run

pytestmark = pytest.mark.quick

BEGAN = datetime(2026, 1, 31, 12, tzinfo=UTC)


def entry(seconds: float, step: str, event: str, updates: Any = None) -> ExecutionEntry:
    return ExecutionEntry(step, event, BEGAN + timedelta(seconds=seconds), updates)


INSTANCE = order(
    "order::1",
    status=Status.RUNNING,
    current_step="ship",
    active_steps={"ship"},
    completed_steps={"pack", "charge"},
    execution_history=(
        entry(0, "charge", "started"),
        entry(1.2, "charge", "done", {"order_id": 2, "receipt": "r-1"}),
        entry(1.25, "ship", "started", {}),
        entry(400, "ship", "failed", {"error": {"reason": "closed"}}),
    ),
)


@pytest.fixture
def stored(do: Do) -> Instance:
    instance: Instance = do(lambda storage: storage.put(INSTANCE))
    return instance


@pytest.mark.usefixtures("stored")
def test_it_shows_the_columns_and_the_history_as_a_timeline(run: Run) -> None:
    code, out, err = run("show", "order::1")
    assert (code, err) == (0, "")
    columns, history = out.split("\n\n")
    assert re.sub(r"\d{16}|[\d,]+ bytes|2\d{3}-.*ago", "…", columns).splitlines() == [
        "id         order::1",
        "workflow   Order, version 1",
        "status     running at ship",
        "owner      nobody",
        "attempts   none failed",
        "due        now",
        "revision   …",
        "size       … of state",
        "inserted   …",
        "updated    …",
        "active     ship",
        "completed  charge, pack",
    ]
    assert history.splitlines() == [
        "at (UTC)                 after  step    event    changes",
        "2026-01-31 12:00:00             charge  started",
        "2026-01-31 12:00:01.200   1.2s  charge  done     receipt, order_id",
        "2026-01-31 12:00:01.250   50ms  ship    started",
        "2026-01-31 12:06:40         6m  ship    failed   error",
    ]


@pytest.mark.usefixtures("stored")
def test_diff_tells_what_each_entry_changed(run: Run) -> None:
    out = run("show", "order::1", "--diff")[1]
    assert [line for line in out.splitlines() if line.startswith("    ")] == [
        '    + receipt: "r-1"',
        "    ~ order_id: 1 -> 2",
        '    + error: {"reason":"closed"}',
    ]


def test_json_is_that_of_the_storage_and_more(
    run: Run, stored: Instance, do: Do, migrated: str
) -> None:
    code, out, err = run("show", "order::1", "--json")
    assert (code, err) == (0, "")
    shown = json.loads(out)

    async def expected(storage: AsyncStorage) -> dict[str, Any]:
        return storage.as_json(stored)

    assert shown.items() >= do(expected).items()
    assert (shown["schema"], shown["attempts"], shown["error"]) == (migrated, 0, None)
    assert out.isascii()


def test_an_id_that_is_not_there(run: Run) -> None:
    assert run("show", "order::1") == (1, "", "there is no instance 'order::1'\n")
    assert run("show", "order::1", "--json") == (1, "", "there is no instance 'order::1'\n")


def test_a_row_that_cannot_be_read_is_shown_as_far_as_it_can_be(
    run: Run, stored: Instance, change: Change
) -> None:
    change("""status = 'odd', state = '{"context": 5, "current_step": "x"}'""")
    error = "error: instance 'order::1' cannot be read: "
    code, out, err = run("show", "order::1")
    assert (code, err[: len(error)], err.count("\n")) == (2, error, 1)
    assert "status     odd at x\n" in out
    assert f"revision   {stored.revision + 1 if stored.revision else 0}\n" in out
    code, out, err = run("show", "order::1", "--json")
    assert (code, err[: len(error)]) == (2, error)
    shown = json.loads(out)
    assert (shown["status"], shown["state"]) == ("odd", None)
    assert f"error: {shown['error']}\n" == err


def test_the_owner_has_a_name_and_a_lease_while_it_lives(
    run: Run, do: Do, dsn: str, migrated: str
) -> None:
    async def own(storage: AsyncStorage) -> Any:
        async with storage.runner(workflows=["Order"], name="worker-7", lease=60) as runner:
            await runner.insert(order("order::1"))
            return await asyncio.to_thread(run, "show", "order::1"), runner.token

    (code, out, _), token = do(own)
    assert code == 0
    assert re.search(rf"^owner      worker-7 \({token}\), lease [56]\ds left$", out, re.MULTILINE)
    assert "\ndue        once its owner gives it up\n" in out


DUE = {
    "status = 'completed'": "never: it has finished",
    "status = 'odd'": "never: nobody knows that status",
    "status = 'waiting'": "never: it waits for a write",
    EXHAUSTED: "never: too many attempts failed; write it or release it",
    "due_at = now() + interval '90 minutes'": r"20.* UTC, in [89]\dm",
    "due_at = now() - interval '3 days'": "20.* UTC, since 3d",
    "runner = '0191e0a4-5b0c-7d3e-8f00-000000000001'": "once its owner gives it up",
}


@pytest.mark.parametrize("columns", DUE)
def test_it_says_when_an_instance_is_due(run: Run, do: Do, change: Change, columns: str) -> None:
    do(lambda storage: storage.put(order("order::1")))
    change(columns)
    out = run("show", "order::1")[1]
    assert re.search(rf"^due        {DUE[columns]}$", out, re.MULTILINE)


def test_failed_attempts_and_a_dead_owner_are_said(run: Run, do: Do, change: Change) -> None:
    do(lambda storage: storage.put(order("order::1")))
    change("attempts = 2, runner = '0191e0a4-5b0c-7d3e-8f00-000000000001'")
    out = run("show", "order::1")[1]
    assert "\nowner      a runner that is dead (" in out
    assert "\nattempts   2 failed in a row\n" in out
