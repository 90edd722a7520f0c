from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.chaos.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def proxy(dsn: str) -> AsyncIterator[Proxy]:
    parts = urlsplit(dsn)
    if parts.hostname not in {"127.0.0.1", "localhost"}:
        pytest.skip("the proxy leads to a server on this machine only")
    async with Proxy(lambda: parts.port or 5432) as proxy:
        yield proxy
