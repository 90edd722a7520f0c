"""The pages: what they let in, and how they are sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from hephaestus_pg import (
    AsyncStorage,
    Status,
    web,
)
from tests.web.looking import HOSTILE, full, page, shown

if TYPE_CHECKING:
    import httpx

pytestmark = pytest.mark.quick

pytest.importorskip("jinja2", reason="the group test is not installed")


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
