"""The list of instances: its filters, and its pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from hephaestus_pg import (
    AsyncStorage,
    Status,
)
from tests.support.instances import order
from tests.web.looking import MOMENT, page

if TYPE_CHECKING:
    import asyncpg
    import httpx

    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick

pytest.importorskip("jinja2", reason="the group test is not installed")


async def test_a_list_goes_on_where_its_page_ended(
    client: httpx.AsyncClient, storage: AsyncStorage
) -> None:
    await storage.put_many([order(f"orderid::{n:03}") for n in range(120)])
    await storage.put_many([order(f"other::{n:03}", workflow="Other") for n in range(9)])
    seen: list[str] = []
    first = "/instances?workflow=Order&order_by=inserted_at&status=pending"
    address: str | None = first
    pages = 0
    while address:
        html = await page(client, address)
        seen += [parse_qs(urlsplit(link).query)["id"][0] for link in html.links if "id=" in link]
        following = [link for link in html.links if "after=" in link]
        address = f"/{following[0]}" if following else None
        pages += 1
    assert pages == 3
    assert seen == [f"orderid::{n:03}" for n in range(120)]
    assert first.removeprefix("/") in html.links


async def test_a_list_is_newest_first(
    client: httpx.AsyncClient, storage: AsyncStorage, pool: Pool
) -> None:
    await storage.put_many([order("orderid::1"), order("orderid::2")])
    await pool.execute(
        f"UPDATE {storage.schema}.workflow_instances SET inserted_at = inserted_at - interval '1 h'"
        " WHERE id = 'orderid::2'"
    )
    links = (await page(client, "/instances")).links
    assert links.index("instance?id=orderid%3A%3A1") < links.index("instance?id=orderid%3A%3A2")


@pytest.mark.parametrize(
    ("query", "ids"),
    (
        ("", "1 2 3"),
        ("status=&workflow=&order_by=inserted_at", "1 2 3"),
        ("status=pending&status=failed", "1 2"),
        ("workflow_family=Ref", "2"),
        ("workflow_version=4", "3"),
        ("runner=none", "1 2 3"),
        ("runner=00000000-0000-0000-0000-000000000001", ""),
        ("due_before=2026-02-01T00:00", "3"),
        ("due_before=2026-02-01T00:00%2B01:00", "3"),
        ("inserted_after=2026-01-01&updated_after=2026-01-01T00:00Z", "1 2 3"),
        ("inserted_before=2026-01-01", ""),
        ("updated_before=2026-01-01", ""),
        ("updated_before=9999-12-31T23:59", "1 2 3"),
        ("id=1", "1"),
    ),
)
async def test_a_list_is_filtered_as_a_query(
    client: httpx.AsyncClient, storage: AsyncStorage, query: str, ids: str
) -> None:
    await storage.put_many(
        [
            order("1"),
            order("2", workflow="Refund", status=Status.FAILED),
            order("3", status=Status.WAITING, workflow_version=4, due_at=MOMENT),
        ]
    )
    html = await page(client, f"/instances?{query}")
    found = [link.removeprefix("instance?id=") for link in html.links if "id=" in link]
    assert sorted(found) == ids.split()
    assert f"{len(found)} shown" in html.text


@pytest.mark.parametrize(
    ("field", "value"),
    (
        ("status", "dancing"),
        ("workflow_version", "one"),
        ("workflow_version", "0"),
        ("runner", "<b>me"),
        ("due_before", "tomorrow"),
        ("inserted_after", "2026-13-01"),
        ("after", "nonsense"),
        ("order_by", "-updated_at"),
        ("id", "x" * 256),
    ),
)
async def test_a_wrong_filter_is_named(client: httpx.AsyncClient, field: str, value: str) -> None:
    html = await page(client, f"/instances?{urlencode({field: value})}", 400)
    assert re.search(rf"\b{field} is '?{re.escape(value[:50])}", html.text)
    assert "error" in [each.get("id") for each in html.all("p")]


async def test_a_list_that_takes_too_long_is_given_up(
    client: httpx.AsyncClient, storage: AsyncStorage, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hephaestus_pg.web.pages.LIST_SECONDS", 0.1)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {storage.schema}.workflow_instances")
        html = await page(client, "/instances?workflow=Order", 503)
    assert "Give a filter that leaves fewer" in html.text
    assert "Filters: workflow Order" in html.text
    assert "There are none" not in html.text


async def test_the_storage_may_have_less_time_than_a_list(start: Start) -> None:
    import httpx

    from hephaestus_pg import web

    transport = httpx.ASGITransport(web.app(await start(timeout=2)))
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        assert "There are none" in (await page(client, "/instances")).text


async def test_a_misspelt_filter_is_refused(client: httpx.AsyncClient) -> None:
    html = await page(client, "/instances?stauts=failed", 400)
    assert "field is 'stauts': the fields are id, status" in html.text


async def test_the_filters_are_told(client: httpx.AsyncClient) -> None:
    html = await page(client, "/instances?status=failed&status=pending&workflow=Order")
    assert "Filters: status failed or pending , workflow Order" in html.text


async def test_the_filters_stay_in_the_form(client: httpx.AsyncClient) -> None:
    html = await page(client, "/instances?workflow=%22%3E&status=failed&workflow_version=x", 400)
    boxes = {each["name"]: each for each in html.all("input") if each.get("type") == "text"}
    assert boxes["workflow"]["value"] == '">'
    assert boxes["workflow_version"]["aria-invalid"] == "true"
    assert [e["value"] for e in html.all("input") if "checked" in e] == ["failed"]
