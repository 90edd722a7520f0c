"""What is no connection of asyncpg is refused, and told how to get one."""

from __future__ import annotations

import re
from typing import Any

import asyncpg
import psycopg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    InvalidTypeError,
)


def shown(value: object) -> str:
    """A test's name, the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


class TestUsing:
    @pytest.mark.parametrize("given", (None, "postgresql://", 5, object()), ids=shown)
    async def test_what_is_no_connection_is_refused(
        self, storage: AsyncStorage, given: Any
    ) -> None:
        with pytest.raises(InvalidTypeError, match="^connection is .*give a connection of asyncpg"):
            storage.using(given)

    async def test_a_pool_is_told_to_give_one(
        self, storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record]
    ) -> None:
        with pytest.raises(InvalidTypeError, match=r"async with pool.acquire\(\) as connection"):
            storage.using(pool)  # type: ignore[arg-type]
        async with pool.acquire() as connection:
            assert await storage.using(connection).count() == 0

    async def test_what_was_not_awaited_says_so(
        self, storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record], dsn: str
    ) -> None:
        connecting = asyncpg.connect(dsn)
        for given in (pool.acquire(), connecting):
            with pytest.raises(InvalidTypeError, match="await this one"):
                storage.using(given)  # type: ignore[arg-type]
        connecting.close()

    async def test_verbs_are_no_connection(self, storage: AsyncStorage) -> None:
        async with storage.transaction() as transaction:
            for given in (storage, transaction):
                with pytest.raises(InvalidTypeError):
                    storage.using(given)  # type: ignore[arg-type]
            assert await storage.using(transaction.connection).count() == 0

    async def test_a_connection_of_psycopg_is_refused(
        self, storage: AsyncStorage, dsn: str
    ) -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            with pytest.raises(InvalidTypeError, match="of asyncpg"):
                storage.using(connection)  # type: ignore[arg-type]

    async def test_sqlalchemys_says_how_to_get_the_raw_one(
        self, storage: AsyncStorage, dsn: str
    ) -> None:
        pytest.importorskip("greenlet")
        from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

        engine = create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://"))
        try:
            async with engine.connect() as connection, AsyncSession(engine) as session:
                raw = await connection.get_raw_connection()
                for given, way in (
                    (connection, r"get_raw_connection\(\)\).driver_connection"),
                    (session, r"await \(await session.connection\(\)\).get_raw_connection"),
                    (raw, "its driver_connection"),
                    (raw.dbapi_connection, "its driver_connection"),
                    (connection.sync_connection, "of asyncpg"),
                ):
                    with pytest.raises(InvalidTypeError, match=way):
                        storage.using(given)  # type: ignore[arg-type]
                assert raw.driver_connection is not None
                assert await storage.using(raw.driver_connection).count() == 0
        finally:
            await engine.dispose()
