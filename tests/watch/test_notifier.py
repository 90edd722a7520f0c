from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import Instance, Status, UnavailableError, migrations
from hephaestus_pg.watch import notifier
from hephaestus_pg.watch.news import News
from hephaestus_pg.watch.watching import channel_of
from tests.support.lag import happens
from tests.watch.conftest import listens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from hephaestus_pg import AsyncStorage
    from tests.support.faults import Faults, FaultsOf
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]


async def test_nothing_is_sent_while_nobody_listens(storage: AsyncStorage, faults: Faults) -> None:
    await storage.put(Instance("a", "Order"))
    assert storage._outlet.notifier.is_idle
    assert faults.tried == ["put"]


async def test_what_is_written_while_one_is_under_way_is_sent_after_it(
    storage: AsyncStorage, other: AsyncStorage, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    waiting = asyncio.create_task(other.wait("x"))
    await listens(other)
    monkeypatch.setattr(other._subscription, "_on_news", heard.append)
    telling = faults.delay("notify")
    await storage.put(Instance("a", "Order"))
    await telling.started.wait()
    for id in ("b", "c"):
        await storage.put(Instance(id, "Order"))
    telling.release()
    await happens(lambda: len(heard) == 2)
    assert [news.ids for news in heard] == [{"a"}, {"b", "c"}]
    waiting.cancel()


async def test_two_are_apart(
    storage: AsyncStorage, other: AsyncStorage, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "INTERVAL", 3600.0)
    waiting = asyncio.create_task(other.wait("x"))
    await listens(other)
    for id in ("a", "b"):
        await storage.put(Instance(id, "Order"))
        await happens(lambda: "notify" in faults.tried and storage._outlet.notifier._task is None)
    assert faults.tried.count("notify") == 1
    await storage.close()  # which sends the rest
    assert faults.tried.count("notify") == 2
    waiting.cancel()


async def test_closing_sends_what_was_written_while_one_was_under_way(
    storage: AsyncStorage, other: AsyncStorage, faults: Faults
) -> None:
    waiting = asyncio.create_task(other.wait("x"))
    await listens(other)
    telling = faults.delay("notify")
    await storage.put(Instance("a", "Order"))
    await telling.started.wait()
    await storage.put(Instance("b", "Order"))
    asyncio.get_running_loop().call_soon(telling.release)
    await storage.close()
    assert faults.tried.count("notify") == 2
    waiting.cancel()


async def test_one_that_fails_fails_nothing_else(
    storage: AsyncStorage, other: AsyncStorage, faults: Faults
) -> None:
    waiting = asyncio.create_task(other.wait("x"))
    await listens(other)
    faults.refuse("notify", error=UnavailableError("full", applied="no", retryable=False))
    await storage.put(Instance("a", "Order"))
    await happens(lambda: "notify" in faults.tried)
    await storage.put(Instance("b", "Order"))
    await happens(lambda: faults.tried.count("notify") == 2)
    waiting.cancel()


async def test_a_closed_storage_sends_nothing(storage: AsyncStorage, faults: Faults) -> None:
    await storage.close()
    storage._outlet.written(Instance("a", "Order"))
    storage._outlet.tell(News.of(Instance("b", "Order")))
    assert storage._outlet.notifier.is_idle
    assert "notify" not in faults.tried


@pytest.fixture
async def writers(
    storage: AsyncStorage, start: Start, pool: Pool, dsn: str
) -> AsyncIterator[list[AsyncStorage]]:
    """Two storages on one pool, to each of which somebody listens on another."""
    schemas = [f"{storage.schema}_{tenant}" for tenant in ("a", "b")]
    readers = []
    for schema in schemas:
        await migrations.up(dsn, schema=schema)
        readers.append(reader := await start(schema=schema))
        waiting = asyncio.create_task(reader.wait("never"))
        await listens(reader)
        waiting.cancel()  # it listens for a while longer
    writers = [await start(pool=pool, schema=schema) for schema in schemas]
    yield writers
    for each in (*writers, *readers):
        await each.close()
    for schema in schemas:
        await migrations.down(dsn, schema=schema, version=0, allow_row_loss=True)


async def test_the_storages_of_a_pool_tell_in_one_notification(
    writers: list[AsyncStorage], monkeypatch: pytest.MonkeyPatch, faults_of: FaultsOf
) -> None:
    one, two = writers
    tried = [faults_of(writer).tried for writer in writers]
    monkeypatch.setattr(one._outlet.notifier, "_sent", asyncio.get_running_loop().time())
    monkeypatch.setattr(notifier, "INTERVAL", 0.5)
    for writer in writers:
        await writer.put(Instance("x", "Order", status=Status.COMPLETED))
    assert one._outlet.notifier is two._outlet.notifier
    await happens(lambda: one._outlet.notifier.is_idle)
    assert [each.count("notify") for each in tried] == [1, 0]


async def test_one_that_closes_in_haste_leaves_the_others_news_to_be_told(
    writers: list[AsyncStorage], faults_of: FaultsOf
) -> None:
    one, two = writers
    faults, tried = faults_of(one), faults_of(two).tried
    telling = faults.delay("notify")
    await one.put(Instance("a", "Order"))
    await telling.started.wait()
    for writer in writers:
        await writer.put(Instance("b", "Order"))
    closing = asyncio.create_task(one.close())
    await happens(lambda: not one._can_listen)
    closing.cancel()
    telling.release()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await happens(lambda: one._outlet.notifier.is_idle)
    assert (faults.tried.count("notify"), tried.count("notify")) == (1, 1)


def test_a_channel_is_a_schemas_own() -> None:
    names = {channel_of(schema) for schema in ("public", "tenant_1", "x" * 63)}
    assert len(names) == 3
    assert max(map(len, names)) < 64
