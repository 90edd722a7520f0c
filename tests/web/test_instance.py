"""The page of an instance: its steps, history and state, whatever they are."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    AsyncStorage,
    Context,
    ExecutionEntry,
    Status,
)
from tests.support.instances import order
from tests.web.html import Html
from tests.web.looking import MOMENT, page, shown

if TYPE_CHECKING:
    import asyncpg
    import httpx

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick

pytest.importorskip("jinja2", reason="the group test is not installed")


async def test_an_instance_is_shown_with_its_steps_and_history(
    client: httpx.AsyncClient, storage: AsyncStorage
) -> None:
    def entry(step: str, event: str, minutes: int, **updates: Any) -> ExecutionEntry:
        return ExecutionEntry(step, event, MOMENT + timedelta(minutes=minutes), updates or None)

    await storage.put(
        replace(
            order(),
            status=Status.RUNNING,
            current_step="ship",
            context=Context({"order_id": 1}, {"charge": {"receipt": "r-1"}}),
            step_configs={"charge": {"retries": 3}, "ship": {}, "thank": {}},
            active_steps=frozenset({"ship"}),
            completed_steps=frozenset({"charge"}),
            execution_history=(
                entry("charge", "started", 0),
                entry("charge", "completed", 5, receipt="r-1"),
                entry("ship", "started", 6),
            ),
        )
    )
    html = await page(client, shown("orderid::1"))
    assert "running revision 1" in html.text
    assert "charge done 5 min 0 s" in html.text
    assert "ship active" in html.text
    assert "thank waiting" in html.text
    assert [each["width"] is not None for each in html.all("rect")] == [True, True]
    assert "2026-01-31 12:05:00 charge completed after 5 min 0 s changed receipt" in html.text
    assert '"retries": 3' in html.text
    assert '"receipt": "r-1"' in html.text


async def test_what_is_not_there_is_not_found(client: httpx.AsyncClient) -> None:
    assert "<b>x: no such row" in (await page(client, shown("<b>x"), 404)).text


@pytest.mark.parametrize("id", ("", "x" * 256, "a\0b"))
async def test_an_id_that_no_row_can_have_is_refused(client: httpx.AsyncClient, id: str) -> None:
    assert "InvalidValueError id is" in (await page(client, shown(id), 400)).text


async def test_of_a_large_state_the_parts_that_are_small_are_shown(
    client: httpx.AsyncClient, storage: AsyncStorage
) -> None:
    entries = tuple(
        ExecutionEntry("charge", f"event {n}", MOMENT, {"text": "x" * 1000}) for n in range(300)
    )
    large = order(
        context=Context({"text": "x" * (15 * 2**20)}),
        runtime_metadata={"note": "small"},
        execution_history=entries,
    )
    await storage.put(large)
    answer = await client.get(shown("orderid::1"))
    html = Html(answer.text)
    assert "context 15 MiB: too large for this page." in html.text
    assert '"note": "small"' in html.text
    assert "event 199" not in html.text
    assert "event 200" in html.text
    assert "event 299" in html.text
    assert len(answer.text) < 400_000


async def test_deep_and_long_values_are_shown_too(
    client: httpx.AsyncClient, storage: AsyncStorage, pool: Pool
) -> None:
    await storage.put(order())
    deep = "[" * 5000 + "]" * 5000
    await pool.execute(
        f"UPDATE {storage.schema}.workflow_instances SET state = jsonb_set(jsonb_set(state, "
        f"'{{context,initial}}', '{{\"deep\": {deep}}}'), "
        f"'{{runtime_metadata}}', '{{\"long\": 1{'0' * 5000}}}')"
    )
    answer = await client.get(shown("orderid::1"))
    assert answer.status_code == 200
    assert f"1{'0' * 5000}" in answer.text


@pytest.mark.parametrize(
    ("column", "value", "found"),
    (
        ("state", "'[1]'", "[1]"),
        ("state", """'{"context": "<b>lost"}'""", '"<b>lost"'),
        ("state", """'{"execution_history": {"a": 1}}'""", "execution_history"),
        ("status", "'<b>dancing'", "<b>dancing"),
        ("inserted_at", "'infinity'", "Infinity"),
        ("workflow_version", "-1", "workflow_version"),
    ),
)
async def test_a_row_that_cannot_be_read_is_shown_as_it_is(
    client: httpx.AsyncClient,
    storage: AsyncStorage,
    pool: Pool,
    *,
    column: str,
    value: str,
    found: str,
) -> None:
    await storage.put(order())
    await pool.execute(f"UPDATE {storage.schema}.workflow_instances SET {column} = {value}")
    html = await page(client, shown("orderid::1"))
    assert "instance 'orderid::1' cannot be read" in html.text
    assert found in html.text
    assert shown("orderid::1")[1:] in (await page(client, "/instances?order_by=inserted_at")).links
