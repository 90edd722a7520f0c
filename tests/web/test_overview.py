"""The overview: what is counted, stuck, run, and was written in the last day."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import (
    AsyncStorage,
    Status,
)
from tests.support.instances import order
from tests.web.looking import page, shown

if TYPE_CHECKING:
    import asyncpg
    import httpx

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick

pytest.importorskip("jinja2", reason="the group test is not installed")


async def test_an_empty_table_is_shown_as_that(client: httpx.AsyncClient) -> None:
    text = (await page(client, "/")).text
    assert "0 owned by 0 runners, 0 orphaned, 0 exhausted, 0 stuck" in text
    assert "There are none yet." in text


async def test_the_overview_counts_by_workflow_and_status(
    client: httpx.AsyncClient, storage: AsyncStorage
) -> None:
    await storage.put_many([order(f"orderid::{n}") for n in range(3)])
    await storage.put(order("orderid::failed", workflow="Refund", status=Status.FAILED))
    html = await page(client, "/")
    assert "instances?workflow=Order&status=pending" in html.links
    assert "instances?workflow=Refund&status=failed" in html.links
    assert "Order 3 0 0 0 0" in html.text
    assert "Refund 0 0 0 0 1" in html.text
    rows = (await page(client, "/instances?workflow=Order&status=pending")).links
    assert len([link for link in rows if link.startswith("instance?")]) == 3


async def test_the_overview_shows_runners_with_their_leases(
    client: httpx.AsyncClient, storage: AsyncStorage
) -> None:
    await storage.put(order())
    async with storage.runner(workflows=["Order"], name="<b>host:1</b>", lease=30) as runner:
        await runner.claim("orderid::1")
        html = await page(client, "/")
        assert "1 owned by 1 runners" in html.text
        assert re.search(r"<b>host:1</b> 1 \d+\.\d s ", html.text)  # it owns one; its lease
        assert f"instances?runner={runner.token}" in html.links
        owned = await page(client, f"/instances?runner={runner.token}")
        assert shown("orderid::1")[1:] in owned.links
        assert "<b>host:1</b>" in (await page(client, shown("orderid::1"))).text
    assert "Owner" in (await page(client, shown("orderid::1"))).text


async def test_the_overview_shows_what_is_stuck_and_why(
    client: httpx.AsyncClient, storage: AsyncStorage, pool: Pool
) -> None:
    await storage.put(order("orderid::old", current_step="charge"))
    await pool.execute(
        f"UPDATE {storage.schema}.workflow_instances SET "
        "inserted_at = inserted_at - interval '2 h', updated_at = updated_at - interval '2 h'"
    )
    text = (await page(client, "/")).text
    assert "orderid::old unclaimed 2 h 0 min charge Order" in text
    assert "1 stuck" in text


async def test_time_goes_by_the_servers_clock(
    client: httpx.AsyncClient, storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ahead(_: AsyncStorage) -> datetime:
        return datetime.now(UTC) + timedelta(hours=1)

    monkeypatch.setattr("hephaestus_pg.web.pages.server_time", ahead)
    await storage.put(order(status=Status.RUNNING, current_step="charge"))
    assert "1 h 0 min" in (await page(client, "/")).text
    assert "charge active 1 h 0 min" in (await page(client, shown("orderid::1"))).text


async def test_the_overview_draws_the_last_day_by_workflow_and_status(
    client: httpx.AsyncClient, storage: AsyncStorage
) -> None:
    await storage.put_many([order(f"orderid::{n}") for n in range(7)])
    await storage.put(order("refund", workflow="Refund", status=Status.FAILED))
    html = await page(client, "/")
    assert "Inserted in the last 24 hours, at most 8 an hour" in html.text
    assert "Last written in the last 24 hours, at most 8 an hour" in html.text
    drawn = [each for each in html.all("rect") if each["class"] != "inserted"]
    heights = [(each["class"], float(each["height"] or 0)) for each in drawn]
    # Of Order, of Refund, and of both.
    assert heights == [("pending", 40), ("failed", 40), ("pending", 35), ("failed", 5)]
    assert re.search(r"Refund 0 0 0 0 1 \S failed 1", html.text)
    assert "pending 7, failed 1" in html.text


async def test_of_many_workflows_the_overview_shows_some(
    client: httpx.AsyncClient, storage: AsyncStorage
) -> None:
    await storage.put_many([order(f"orderid::{n}", workflow=f"W{n:03}") for n in range(103)])
    html = await page(client, "/")
    assert "instances?workflow=W099" in html.links
    assert "instances?workflow=W100" not in html.links
    assert "3 more workflows" in html.text
