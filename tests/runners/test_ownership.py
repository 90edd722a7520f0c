"""The verbs of a storage on runners: to start them, to see them, and to take things from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import InvalidTypeError, RunnerEndedError, StorageClosedError
from tests.runners.conftest import next_claim, order

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage
    from tests.runners.conftest import Table
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick


async def test_a_transaction_has_no_runner(storage: AsyncStorage) -> None:
    async with storage.transaction() as transaction:
        with pytest.raises(InvalidTypeError, match="a runner is the storage's own"):
            transaction.runner(workflows=["Order"])


async def test_nor_has_a_connection_of_the_callers(storage: AsyncStorage, pool: Pool) -> None:
    async with pool.acquire() as connection:
        with pytest.raises(InvalidTypeError, match="a runner is the storage's own"):
            storage.using(connection).runner(workflows=["Order"])
    assert await storage.runners() == []


async def test_runners_tells_of_those_that_live_the_oldest_first(
    storage: AsyncStorage, start: Start, table: Table
) -> None:
    other = await start()
    await storage.put_many([order("x"), order("y"), order("z", workflow="Refund")])
    async with (
        storage.runner(workflows=["Order"], name="first", lease=60) as first,
        other.runner(workflows=["Refund", "Order"], name="second", lease=60) as second,
    ):
        for id in ("x", "y"):
            assert await first.claim(id)
        told = await other.runners()
        assert [(each.name, each.token, each.workflows, each.owned) for each in told] == [
            ("first", first.token, ("Order",), 2),
            ("second", second.token, ("Order", "Refund"), 0),
        ]
        await table.expire(first.token)
        assert [each.name for each in await storage.runners()] == ["second"]


async def test_closing_the_storage_stops_its_runners(start: Start, table: Table) -> None:
    storage = await start()
    await storage.insert(order("x"))
    runner = await storage.runner(workflows=["Order"])
    assert await runner.claim("x")
    await storage.close()
    row = await table.row("x")
    assert (row["runner"], row["attempts"]) == (None, 0)
    assert [each async for each in runner.claims()] == []
    with pytest.raises(RunnerEndedError, match="it was stopped"):
        await runner.claim("x")
    with pytest.raises(StorageClosedError):
        await storage.runner(workflows=["Order"])


async def test_an_operator_releases_what_is_owned(storage: AsyncStorage, table: Table) -> None:
    await storage.insert(order("x"))
    async with storage.runner(workflows=["Order"]) as runner:
        await next_claim(runner)
        before = (await table.row("x"))["revision"]
        assert await storage.release("x") is True
        row = await table.row("x")
        assert (row["runner"], row["revision"]) == (None, before + 1)
        assert await storage.release("x") is False
        assert await storage.release("nobody") is False
