from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import Instance, Status, migrations
from hephaestus_pg.watch import listener
from tests.support.lag import happens
from tests.watch.conftest import listens

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage
    from tests.chaos.proxy import Proxy
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]


async def rows(pool: Pool, storage: AsyncStorage) -> int:
    """The listeners that other processes know of."""
    table = f"{storage.schema}.workflow_runners"
    query = f"SELECT count(*) FROM {table} WHERE workflows = '{{}}' AND expires_at > now()"
    return int(await pool.fetchval(query))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "LINGER_SECONDS", 0.0)
    monkeypatch.setattr(listener, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(listener, "RETRY_SECONDS", 0.01)


async def test_others_know_of_it_for_as_long_as_it_listens(
    storage: AsyncStorage, pool: Pool
) -> None:
    assert await rows(pool, storage) == 0
    waiting = asyncio.create_task(storage.wait("x"))
    await listens(storage)
    assert await rows(pool, storage) == 1
    assert await storage.runners() == []
    waiting.cancel()
    while await rows(pool, storage) == 1:
        await asyncio.sleep(0.01)


async def test_one_whose_row_is_gone_registers_again(storage: AsyncStorage, pool: Pool) -> None:
    waiting = asyncio.create_task(storage.wait("x"))
    await listens(storage)
    await pool.execute(f"DELETE FROM {storage.schema}.workflow_runners")
    while await rows(pool, storage) == 0:
        await asyncio.sleep(0.01)
    waiting.cancel()


async def test_one_whose_connection_breaks_listens_again(far: AsyncStorage, proxy: Proxy) -> None:
    waiting = asyncio.create_task(far.wait("x"))
    for _ in range(2):
        await listens(far)
        looks = far._watchers.looks
        proxy.drop(proxy.paths)
        await happens(lambda: not far._subscription.is_listening)
        await listens(far)
        await happens(lambda: far._watchers.looks > looks)  # noqa: B023 - awaited in the loop
    waiting.cancel()


async def test_one_that_is_needed_again_while_it_ends_goes_on(storage: AsyncStorage) -> None:
    for _ in range(3):
        waiting = asyncio.create_task(storage.wait("x"))
        await listens(storage)
        waiting.cancel()
        await asyncio.wait({waiting})
        await asyncio.sleep(0)


async def test_closing_the_storage_ends_it(storage: AsyncStorage, pool: Pool) -> None:
    waiting = asyncio.create_task(storage.wait("x"))
    await listens(storage)
    await storage.close()
    await asyncio.wait({waiting})
    assert waiting.exception() is not None
    assert not storage._subscription.is_listening
    assert await rows(pool, storage) == 0


async def test_the_storages_of_a_pool_share_a_connection(
    start: Start, pool: Pool, storage: AsyncStorage, dsn: str
) -> None:
    schemas = [f"{storage.schema}_{tenant}" for tenant in ("a", "b")]
    for schema in schemas:
        await migrations.up(dsn, schema=schema)
    one, two = [await start(pool=pool, schema=schema) for schema in schemas]
    first, second = [asyncio.create_task(each.wait("x")) for each in (one, two)]
    third = asyncio.create_task(two.wait("y"))
    await listens(one)
    await listens(two)
    assert one._listener is two._listener
    async with start(schema=schemas[1]) as writer:
        stored = await writer.put(Instance("x", "Order", status=Status.COMPLETED))
        assert await second == stored
    assert not first.done()
    await one.close()
    assert (one._subscription.is_listening, two._subscription.is_listening) == (False, True)
    await asyncio.wait({first})
    assert first.exception() is not None
    await two.close()
    await asyncio.wait({third})
    assert third.exception() is not None
    for schema in schemas:
        await migrations.down(dsn, schema=schema, version=0, allow_row_loss=True)
