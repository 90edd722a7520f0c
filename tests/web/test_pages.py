"""The pages: what they show, what they let in, and how they are sent."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from hephaestus_pg import (
    AsyncStorage,
    Context,
    ExecutionEntry,
    Instance,
    InvalidTypeError,
    Status,
    web,
)
from tests.support.instances import order
from tests.web.html import Html

if TYPE_CHECKING:
    import asyncpg
    import httpx

    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick

pytest.importorskip("jinja2", reason="the group test is not installed")

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "</title></pre><svg/onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "a&b=c;d?e#f/../%2e%00+ g",
    "\u202egnp.exe\u2066 \x1b[2J\r\n",
)
MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def full(text: str, **fields: Any) -> Instance:
    """An instance that has the text wherever there may be one."""
    entry = ExecutionEntry(text, text, MOMENT, {text: text}, {text: [text]})
    return replace(
        order(text),
        workflow=text,
        current_step=text,
        context=Context({text: {text: text}}, {text: {text: text}}),
        step_configs={text: {text: text}},
        active_steps=frozenset({text}),
        completed_steps=frozenset({f"{text} done"}),
        runtime_metadata={text: text},
        execution_history=(entry,),
        unknown_state={text: text},
        **fields,
    )


async def page(client: httpx.AsyncClient, address: str, status: int = 200) -> Html:
    answer = await client.get(address)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    html = Html(answer.text)
    assert html.open == []
    assert html.active == []
    return html


def shown(id: str) -> str:
    return f"/instance?{urlencode({'id': id})}"


# The overview


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
        f"UPDATE {storage.schema}.workflow_instances SET inserted_at = inserted_at - interval '2 h'"
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


# The list


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
    assert re.search(rf"\b{field} is '?{re.escape(value[:70])}", html.text)
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


# An instance


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


# Hostile texts


@pytest.mark.parametrize("text", HOSTILE)
async def test_no_stored_text_becomes_markup(
    client: httpx.AsyncClient, storage: AsyncStorage, text: str
) -> None:
    await storage.put(full(text, status=Status.RUNNING))
    expected = " ".join(text.split())
    for address in ("/", "/instances", shown(text), f"/instances?{urlencode({'workflow': text})}"):
        html = await page(client, address)
        assert expected in html.text
        leading = [parse_qs(urlsplit(link).query) for link in html.links]
        assert any(text in query.get("workflow", ()) for query in leading)
    inside = (await page(client, shown(text))).text
    assert json.dumps(text, ensure_ascii=False) in inside


@pytest.mark.parametrize("text", HOSTILE)
async def test_no_given_text_becomes_markup(client: httpx.AsyncClient, text: str) -> None:
    for name in ("workflow", "runner", "order_by", "after", text):
        query = urlencode({name: text})
        assert (await client.get(f"/instances?{query}")).status_code in {200, 400}
        await page(client, f"/instances?{query}", 200 if name == "workflow" else 400)


# How they are sent


@pytest.mark.parametrize(
    ("address", "status"),
    (
        ("/", 200),
        ("/instances", 200),
        ("/instances?stauts=x", 400),
        ("/instance?id=x", 404),
        ("/static/page.css", 200),
        ("/static/page.js", 200),
        ("/static/icon.svg", 200),
        ("/static/pages.py", 404),
        ("/static/..%2fpages.py", 404),
        ("/nothing", 404),
        ("/instances/", 404),
    ),
)
async def test_each_answer_lets_nothing_in(
    client: httpx.AsyncClient, address: str, status: int
) -> None:
    answer = await client.get(address)
    assert answer.status_code == status
    policy = answer.headers["content-security-policy"]
    assert policy == (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
async def test_nothing_can_be_done_but_look(client: httpx.AsyncClient, method: str) -> None:
    for address in ("/", "/instances", "/instance?id=x", "/static/page.css"):
        answer = await client.request(method, address)
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
        assert "content-security-policy" in answer.headers
    assert (await client.head("/")).status_code == 200


async def test_it_may_be_mounted_anywhere(storage: AsyncStorage) -> None:
    import httpx
    from starlette.applications import Starlette

    outer = Starlette()
    outer.mount("/ops/workflows", web.app(storage))
    await storage.put(order())
    transport = httpx.ASGITransport(outer)
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        start = httpx.URL("http://page/ops/workflows/")
        html = await page(client, str(start))
        linked = [*html.links, *(each["href"] or "" for each in html.all("link"))]
        assert "./" in linked
        for link in linked:
            target = start.join(link)
            assert target.path.startswith("/ops/workflows/")
            assert (await client.get(target)).status_code == 200
        answer = await client.get("/ops/workflows", follow_redirects=True)
        assert (answer.status_code, answer.url.path) == (200, "/ops/workflows/")


async def test_classes_need_not_be_known(start: Start, storage: AsyncStorage) -> None:
    import httpx

    from hephaestus_pg import LoadedClasses

    await storage.put(full("no.such.Class"))
    other = await start(references=LoadedClasses())
    transport = httpx.ASGITransport(web.app(other))
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        for address in ("/", "/instances?workflow=no.such.Class", shown("no.such.Class")):
            assert "no.such.Class" in (await page(client, address)).text


async def test_a_storage_may_be_named_before_it_starts(start: Start, schema: str) -> None:
    import httpx

    transport = httpx.ASGITransport(web.app(f"{schema}_later"))
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        assert "NotStartedError" in (await page(client, "/", 503)).text
        async with start(name=f"{schema}_later"):
            await page(client, "/")
        assert "NotStartedError" in (await page(client, "/", 503)).text


async def test_a_server_that_is_away_is_an_answer_too(
    client: httpx.AsyncClient, storage: AsyncStorage
) -> None:
    await storage.close()
    assert "StorageClosedError" in (await page(client, "/", 503)).text


async def test_a_fault_of_its_own_shows_nothing(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(storage, "runners", broken)
    transport = httpx.ASGITransport(web.app(storage), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.text) == (500, "500 Internal Server Error")
    assert "content-security-policy" in answer.headers


def test_it_is_of_a_storage() -> None:
    with pytest.raises(InvalidTypeError, match="storage is None"):
        web.app(None)  # type: ignore[arg-type]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "hephaestus_pg.web.pages", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'hephaestus_pg\[web\]'"):
        web.app("any")
