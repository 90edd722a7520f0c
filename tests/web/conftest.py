"""The page as an application of its own, and what it stores, to be looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from hephaestus_pg import AsyncStorage


@pytest.fixture
async def client(storage: AsyncStorage) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the page of ``storage``."""
    httpx = pytest.importorskip("httpx", reason="the group test is not installed")
    from hephaestus_pg import web

    transport = httpx.ASGITransport(web.app(storage))
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        yield client
