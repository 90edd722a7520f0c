from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import Instance, InvalidTypeError

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick


async def test_the_callers_statements_are_in_it(storage: AsyncStorage) -> None:
    async with storage.transaction() as transaction:
        await transaction.put(Instance("x", "Order"))
        table = f"{storage.schema}.workflow_instances"
        assert await transaction.connection.fetchval(f"SELECT id FROM {table}") == "x"
        assert await storage.get("x") is None


async def test_a_transaction_has_no_runner(storage: AsyncStorage) -> None:
    async with storage.transaction() as transaction:
        with pytest.raises(InvalidTypeError, match="a runner is the storage's own"):
            transaction.runner(workflows=["Order"])


async def test_nor_has_a_connection_of_the_callers(storage: AsyncStorage, pool: Pool) -> None:
    async with pool.acquire() as connection:
        with pytest.raises(InvalidTypeError, match="a runner is the storage's own"):
            storage.using(connection).runner(workflows=["Order"])
    assert await storage.runners() == []
