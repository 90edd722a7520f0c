from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    ConcurrentUseError,
    ConflictError,
    Instance,
    InstanceExistsError,
    SerializationError,
    StorageClosedError,
    TransactionEndedError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Pool = asyncpg.Pool[asyncpg.Record]


@pytest.fixture
async def orders(storage: AsyncStorage, pool: Pool) -> AsyncIterator[str]:
    """A business table beside the instances."""
    table = f"{storage.schema}.orders"
    await pool.execute(f"CREATE TABLE {table} (id integer PRIMARY KEY)")
    yield table
    await pool.execute(f"DROP TABLE {table}")


def order(id: str = "orderid::1", **fields: Any) -> Instance:
    return Instance(id, "Order", **fields)


async def test_instance_and_business_row_commit_together(
    storage: AsyncStorage, pool: Pool, orders: str
) -> None:
    async with storage.transaction() as transaction:
        await transaction.connection.execute(f"INSERT INTO {orders} VALUES (1)")
        inserted = await transaction.insert(order())
        assert await storage.get(inserted.id) is None  # nobody else sees it yet

    assert await storage.get(inserted.id) == inserted
    assert await pool.fetchval(f"SELECT count(*) FROM {orders}") == 1


async def test_instance_and_business_row_vanish_together(
    storage: AsyncStorage, pool: Pool, orders: str
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with storage.transaction() as transaction:
            await transaction.connection.execute(f"INSERT INTO {orders} VALUES (1)")
            await transaction.put(order())
            raise ZeroDivisionError

    assert await storage.count() == 0
    assert await pool.fetchval(f"SELECT count(*) FROM {orders}") == 0


async def test_a_callers_own_errors_stay_its_own(
    storage: AsyncStorage, pool: Pool, orders: str
) -> None:
    await pool.execute(f"INSERT INTO {orders} VALUES (1)")

    with pytest.raises(asyncpg.UniqueViolationError):
        async with storage.transaction() as transaction:
            await transaction.put(order())
            await transaction.connection.execute(f"INSERT INTO {orders} VALUES (1)")

    assert await storage.count() == 0


async def test_a_callers_transaction_decides(
    storage: AsyncStorage, pool: Pool, orders: str
) -> None:
    async with pool.acquire() as connection:
        outer = connection.transaction()
        await outer.start()
        await connection.execute(f"INSERT INTO {orders} VALUES (1)")
        await storage.using(connection).put(order())
        await outer.rollback()
        assert await storage.count() == 0

        async with connection.transaction():
            await storage.using(connection).put(order("x::1"))
            with pytest.raises(ZeroDivisionError):
                async with connection.transaction():  # a savepoint
                    await storage.using(connection).put(order("x::2"))
                    raise ZeroDivisionError
            await connection.execute(f"INSERT INTO {orders} VALUES (2)")

    assert [instance.id for instance in await storage.query()] == ["x::1"]
    assert await pool.fetchval(f"SELECT id FROM {orders}") == 2


async def test_without_a_transaction_each_statement_commits(
    storage: AsyncStorage, pool: Pool
) -> None:
    async with pool.acquire() as connection:
        await storage.using(connection).put(order())

        assert await storage.count() == 1
        with pytest.raises(SerializationError):
            await storage.using(connection).put_many(
                [order("a"), order("b", runtime_metadata={"x": b""})]
            )
    assert await storage.count() == 1


async def test_an_error_of_ours_leaves_a_transaction_usable(storage: AsyncStorage) -> None:
    await storage.insert(order())
    async with storage.transaction() as transaction:
        with pytest.raises(InstanceExistsError):
            await transaction.insert(order())
        await transaction.insert(order("orderid::2"))

    assert await storage.count() == 2


async def test_two_tasks_in_one_transaction_are_told_so(storage: AsyncStorage) -> None:
    async with storage.transaction() as transaction:
        results = await asyncio.gather(
            *(transaction.put(order(f"x::{n}")) for n in range(3)), return_exceptions=True
        )
        refused = [result for result in results if isinstance(result, ConcurrentUseError)]
        assert len(refused) == 2
        assert "a transaction of its own" in str(refused[0])
        assert await transaction.count() == 1


async def test_a_task_beside_the_callers_own_statement_is_told_so_too(
    storage: AsyncStorage,
) -> None:
    async with storage.transaction() as transaction:
        sleep = asyncio.create_task(transaction.connection.execute("SELECT pg_sleep(0.2)"))
        await asyncio.sleep(0)
        with pytest.raises(ConcurrentUseError):
            await transaction.put(order())
        await sleep


async def test_a_transaction_that_has_ended_is_refused(storage: AsyncStorage) -> None:
    async with storage.transaction() as transaction:
        pass

    with pytest.raises(TransactionEndedError, match=storage.name):
        await transaction.put(order())


async def test_a_conflict_is_not_retried(storage: AsyncStorage, pool: Pool) -> None:
    held = await storage.insert(order())
    async with pool.acquire() as connection:
        outer = connection.transaction(isolation="repeatable_read")
        await outer.start()
        using = storage.using(connection)
        await using.get(held.id)
        await storage.put(held)

        with pytest.raises(ConflictError) as caught:
            await using.update(replace(held, runtime_metadata={"mine": True}))
        await outer.rollback()

    assert caught.value.applied == "no"
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, asyncpg.SerializationError)


async def test_closing_waits_for_a_transaction(storage: AsyncStorage) -> None:
    async with storage.transaction() as transaction:
        closing = asyncio.create_task(storage.close())
        await asyncio.sleep(0)
        with pytest.raises(StorageClosedError):
            await storage.get("x")
        await transaction.put(order())
        assert not closing.done()
    await closing


async def test_a_cancelled_transaction_is_rolled_back_and_its_connection_free(
    dsn: str, migrated: str
) -> None:
    from hephaestus_pg import Names

    async with AsyncStorage.start(
        dsn, name="one connection", schema=migrated, references=Names(), max_size=1
    ) as storage:
        inside = asyncio.Event()

        async def work() -> None:
            async with storage.transaction() as transaction:
                await transaction.put(order())
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await storage.count() == 0
