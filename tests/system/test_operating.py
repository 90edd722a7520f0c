"""What the guide shows of the commands is what they print."""

from __future__ import annotations

import asyncio
import re
import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    ExecutionEntry,
    Instance,
    Names,
    Status,
    migrations,
)
from hephaestus_pg.__main__ import main
from tests.system.test_readme import GUIDE, README, blocks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.skipif(not README.exists(), reason="there is no README beside these tests")

LATER = """
    UPDATE workflow_instances SET inserted_at = inserted_at - interval '50 hours',
        updated_at = updated_at - interval '50 hours' WHERE id = 'order::1038';
    UPDATE workflow_instances SET runner = gen_random_uuid(),
        updated_at = updated_at - interval '40 minutes' WHERE id = 'order::1041';
    UPDATE workflow_instances SET attempts = 5, due_at = 'infinity',
        updated_at = updated_at - interval '3 hours 5 minutes' WHERE id = 'order::1040';
    UPDATE workflow_instances SET inserted_at = inserted_at - interval '150 minutes',
        updated_at = updated_at - interval '150 minutes' WHERE id = 'order::1042';
    CREATE SCHEMA globex
"""

TENANT = """
    INSERT INTO globex.workflow_instances (id, workflow, status, inserted_at, updated_at)
    SELECT 'order::' || n, 'Order', 'completed', now(), now() FROM generate_series(1, 20000) AS n;
    ANALYZE globex.workflow_instances
"""


def orders(now: datetime) -> list[Instance]:
    def entry(seconds: float, step: str, event: str, **updates: object) -> ExecutionEntry:
        return ExecutionEntry(step, event, now - timedelta(seconds=seconds), updates or None)

    order = Instance.new("Order", {"amount": 99, "city": "Köln"}, id="order::1040")
    return [
        replace(order, id="order::1038", status=Status.COMPLETED),
        replace(order, id="order::1039", status=Status.WAITING, current_step="payment"),
        replace(
            order,
            status=Status.RUNNING,
            current_step="ship",
            active_steps=frozenset({"ship"}),
            completed_steps=frozenset({"charge"}),
            execution_history=(
                entry(11_400, "charge", "started"),
                entry(11_398.6, "charge", "completed", amount=98, receipt="r-7"),
                entry(11_398.5, "ship", "started"),
                entry(11_338, "ship", "failed", error="carrier: 503"),
            ),
        ),
        replace(order, id="order::1041", status=Status.RUNNING, current_step="charge"),
        replace(order, id="order::1042"),
        Instance("refund::77", "Refund", status=Status.FAILED, current_step="repay"),
    ]


@pytest.fixture
async def operated(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A database as an operator might find it, and a runner that lives."""
    monkeypatch.setenv("HEPHAESTUS_PG_DSN", database)
    await migrations.up(database)
    async with AsyncStorage.start(database, references=Names()) as storage:
        await storage.put_many(orders(datetime.now(UTC)))
        connection = await asyncpg.connect(database)
        await connection.execute(LATER)
        await migrations.up(database, schema="globex", version=3)
        await connection.execute(TENANT)
        await connection.close()
        # It runs no orders, so that it takes none over.
        async with storage.runner(workflows=["Refund"], name="worker-7", lease=600) as runner:
            await runner.insert(Instance.new("Refund", {"amount": 5}, id="refund::78"))
            yield database


def shown() -> list[tuple[str, str]]:
    """The commands of the guide, each with what it prints there."""
    found = []
    for block in blocks(GUIDE, "console"):
        for each in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = each.partition("\n")
            found.append((command, output))
    return found


def comparable(text: str) -> list[str]:
    """Without what is different each time: moments, ages, tokens, revisions and sizes."""
    for pattern, instead in (
        (r"[0-9a-f]{8}-[0-9a-f-]{27}", "TOKEN"),
        (r"dead \([0-9a-f]{8}\)", "dead (TOKEN)"),
        (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?", "MOMENT"),
        (r"\b\d{16}\b", "REVISION"),
        (r"\b\d+(\.\d+)?(ms|[smhdw])\b", "AGE"),
        (r"\d[\d,]* bytes", "BYTES"),
        (r"about \d[\d,]* rows, \d+ MiB", "about SIZE"),
        (r"\d+(\.\d)? m?s$", "TIME"),
        (r" +", " "),
    ):
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return text.rstrip().splitlines()


@pytest.mark.usefixtures("operated")
async def test_the_commands_print_what_the_guide_shows(capsys: pytest.CaptureFixture[str]) -> None:
    given = shown()
    assert {command.split()[3] for command, _ in given} >= {
        *("stats", "stuck", "runners", "list", "show", "release", "prune", "migrate")
    }
    for command, output in given:
        words = shlex.split(command)
        assert words[:3] == ["python", "-m", "hephaestus_pg"]
        code = await asyncio.to_thread(main, words[3:])
        out, err = capsys.readouterr()
        assert comparable(out + err) == comparable(output), command
        assert code == (1 if "up" in words else 0), command
