from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import Instance, Status
from hephaestus_pg.watch import listener, watchers
from hephaestus_pg.watch.watchers import Watchers
from tests.support.lag import happens
from tests.support.proxied import through

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage
    from tests.chaos.proxy import Proxy
    from tests.support.starting import Start


@pytest.fixture(autouse=True)
def _asking(asking: None) -> None:
    """For all tests here."""


@pytest.fixture
async def other(start: Start) -> AsyncStorage:
    """Another storage on the same table, which shares nothing with ``storage`` but the server."""
    return await start(name="other")


@pytest.fixture
async def far(start: Start, dsn: str, proxy: Proxy) -> AsyncStorage:
    """A storage whose way to the server may break."""
    return await start(through(dsn, proxy.port), name="far", timeout=5)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody looks by himself, and tries again to listen, soon."""
    monkeypatch.setattr(watchers, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(listener, "REFUSED_SECONDS", 0.05)
    monkeypatch.setattr(listener, "RETRY_SECONDS", 0.05)


def done(id: str = "x") -> Instance:
    return Instance(id, "Order", status=Status.COMPLETED)


def waiting(storage: AsyncStorage, id: str = "x", **options: Any) -> asyncio.Task[Instance]:
    return asyncio.create_task(storage.wait(id, **options))


async def waits(storage: AsyncStorage, *, listening: bool = True) -> asyncio.Task[Instance]:
    """One who waits, and has seen what there is."""
    task = waiting(storage)
    if listening:
        await listens(storage)
    await has_looked(storage)
    return task


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
