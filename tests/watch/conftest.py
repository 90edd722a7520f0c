from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from hephaestus_pg.watch.watchers import Watchers
from tests.chaos.proxy import Proxy
from tests.support.lag import happens
from tests.support.proxied import through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hephaestus_pg import AsyncStorage
    from tests.support.starting import Start


@pytest.fixture(autouse=True)
def _asking(asking: None) -> None:
    """For all tests here."""


@pytest.fixture
async def other(start: Start) -> AsyncStorage:
    """Another storage on the same table, which shares nothing with ``storage`` but the server."""
    return await start(name="other")


@pytest.fixture
async def proxy(dsn: str) -> AsyncIterator[Proxy]:
    async with Proxy(lambda: urlsplit(dsn).port or 5432) as proxy:
        yield proxy


@pytest.fixture
async def far(start: Start, dsn: str, proxy: Proxy) -> AsyncStorage:
    """A storage whose way to the server may break."""
    return await start(through(dsn, proxy.port), name="far", timeout=5)


def watchers_of(storage: AsyncStorage) -> Watchers:
    """Those who wait on a storage whose pool has no hooks."""
    watchers = storage._watchers
    assert isinstance(watchers, Watchers)
    return watchers


async def has_looked(storage: AsyncStorage) -> None:
    """Waits until who waits has seen what there is."""
    watchers = watchers_of(storage)
    await happens(lambda: watchers.looks and not watchers._wake.is_set())


async def listens(storage: AsyncStorage) -> None:
    """Waits until the storage hears of what others write."""
    await happens(lambda: storage._subscription.is_told)
