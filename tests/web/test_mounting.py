"""The page as a part of another application, behind whatever that puts before it."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import (
    AsyncStorage,
    InvalidTypeError,
    web,
)
from tests.support.instances import order
from tests.web.looking import full, page, shown

if TYPE_CHECKING:
    from starlette.middleware.base import RequestResponseEndpoint
    from starlette.requests import Request

    from tests.support.starting import Start

pytestmark = pytest.mark.quick

pytest.importorskip("jinja2", reason="the group test is not installed")


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


@pytest.mark.parametrize("framework", ("starlette.applications:Starlette", "fastapi:FastAPI"))
async def test_it_is_behind_what_guards_its_mount(storage: AsyncStorage, framework: str) -> None:
    import httpx
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.responses import Response
    from starlette.routing import Mount

    async def known(request: Request, page: RequestResponseEndpoint) -> Response:
        return await page(request) if "Authorization" in request.headers else Response("", 401)

    application = pkgutil.resolve_name(framework)
    guarded = [Middleware(BaseHTTPMiddleware, dispatch=known)]
    outer = application(routes=[Mount("/ops", web.app(storage), middleware=guarded)])
    transport = httpx.ASGITransport(outer)
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        for address in ("/ops/", "/ops/instances", "/ops/instance?id=x", "/ops/static/page.js"):
            assert (await client.get(address)).status_code == 401
            answer = await client.get(address, headers={"Authorization": "me"})
            assert answer.status_code == (404 if "id=x" in address else 200)
            assert "content-security-policy" in answer.headers


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


def test_it_is_of_a_storage() -> None:
    with pytest.raises(InvalidTypeError, match="storage is None"):
        web.app(None)  # type: ignore[arg-type]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "hephaestus_pg.web.pages", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'hephaestus_pg\[web\]'"):
        web.app("any")
