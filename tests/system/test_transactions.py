"""Instances and rows of the user's commit or vanish together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    Instance,
    SerializationError,
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


def order(id: str = "orderid::1", workflow: str = "Order", **fields: Any) -> Instance:
    return Instance(id, workflow, **fields)


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


class TestSQLAlchemy:
    @pytest.fixture
    async def engine(self, dsn: str) -> AsyncIterator[Any]:
        pytest.importorskip("greenlet")
        from sqlalchemy.ext.asyncio import create_async_engine

        engine = create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://"))
        yield engine
        await engine.dispose()

    async def test_instances_and_its_rows_commit_or_vanish_together(
        self, storage: AsyncStorage, engine: Any
    ) -> None:
        from sqlalchemy import text

        with pytest.raises(ZeroDivisionError):
            async with engine.begin() as connection:
                # SQLAlchemy begins at its first statement, of which this is one.
                await connection.execute(text("SELECT 1"))
                raw = (await connection.get_raw_connection()).driver_connection
                await storage.using(raw).put(order("a"))
                await storage.using(raw).put_many([order("b")])
                raise ZeroDivisionError
        assert await storage.count() == 0

        async with engine.begin() as connection:
            await connection.execute(text("SELECT 1"))
            raw = (await connection.get_raw_connection()).driver_connection
            await storage.using(raw).put_many([order("b")])
            assert await storage.count() == 0
        assert await storage.count() == 1

    async def test_a_sessions_savepoint_holds_ours_once_the_session_was_used_in_it(
        self, storage: AsyncStorage, engine: Any
    ) -> None:
        """Nothing tells ours of the savepoint before: the guide says so."""
        from sqlalchemy import text
        from sqlalchemy.ext.asyncio import AsyncSession

        async with AsyncSession(engine) as session:
            await session.execute(text("SELECT 1"))
            raw: Any = (await (await session.connection()).get_raw_connection()).driver_connection
            for id, first in (("kept", None), ("undone", session.connection)):
                with pytest.raises(ZeroDivisionError):
                    async with session.begin_nested():
                        if first is not None:
                            await first()
                        await storage.using(raw).put(order(id))
                        raise ZeroDivisionError
            await session.commit()
        assert [each.id for each in await storage.query()] == ["kept"]

    async def test_before_its_first_statement_each_of_ours_commits_by_itself(
        self, storage: AsyncStorage, engine: Any
    ) -> None:
        """Nothing tells such a connection from one without a transaction: the README says so."""
        async with engine.begin() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            assert not raw.is_in_transaction()
            await storage.using(raw).put_many([order("b")])
            assert await storage.count() == 1
