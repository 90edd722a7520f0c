"""Transactions on a pool: how they begin, and what their failures cost others."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    ConnectionLostError,
    Instance,
    InvalidValueError,
    OperationTimeoutError,
    UnavailableError,
)
from tests.chaos.proxy import Proxy
from tests.support.lag import within
from tests.support.proxied import port_here, through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]


def order(id: str = "orderid::1", workflow: str = "Order", **fields: Any) -> Instance:
    return Instance(id, workflow, **fields)


@pytest.fixture
async def server() -> list[int]:
    """The port of the server behind ``proxied``, which may be changed; none yet."""
    return []


@pytest.fixture
async def proxy(dsn: str, server: list[int]) -> AsyncIterator[Proxy]:
    server.append(port_here(dsn))
    async with Proxy(lambda: server[-1]) as proxy:
        yield proxy


@pytest.fixture
async def proxied(dsn: str, start: Start, proxy: Proxy) -> AsyncIterator[AsyncStorage]:
    """A storage whose one connection leads through ``proxy``, and is open."""
    async with start(through(dsn, proxy.port), max_size=1) as storage:
        yield storage


class TestBeginning:
    async def test_it_waits_for_the_server_to_come_back(
        self, proxied: AsyncStorage, proxy: Proxy, server: list[int]
    ) -> None:
        server.append(1)  # nobody is there
        proxy.drop(proxy.paths)
        asyncio.get_running_loop().call_later(0.5, server.pop)

        async with proxied.transaction() as transaction:
            await transaction.put(order())

        assert await proxied.count() == 1

    async def test_it_ends_by_its_deadline_while_the_server_is_away(
        self, proxied: AsyncStorage, proxy: Proxy, server: list[int]
    ) -> None:
        server.append(1)
        proxy.drop(proxy.paths)

        async with within(2):
            # The deadline may come between two tries, or in the middle of one.
            with pytest.raises((UnavailableError, OperationTimeoutError)) as caught:
                async with proxied.transaction(timeout=0.5):
                    pass
        assert caught.value.applied == "no"

    async def test_it_ends_by_its_deadline_on_a_silent_network(
        self, proxied: AsyncStorage, proxy: Proxy
    ) -> None:
        proxy.lose()
        async with within(2):
            with pytest.raises(OperationTimeoutError) as caught:
                async with proxied.transaction(timeout=0.5):
                    pass
        assert caught.value.applied == "no"
        proxy.heal()
        assert await proxied.count() == 0

    async def test_it_ends_by_its_deadline_where_no_connection_is_free(
        self, proxied: AsyncStorage
    ) -> None:
        async with proxied.transaction(), within(2):
            with pytest.raises(OperationTimeoutError) as caught:
                async with proxied.transaction(timeout=0.2):
                    pass
        assert caught.value.applied == "no"

    async def test_its_timeout_is_that_of_each_statement_too(
        self, storage: AsyncStorage, pool: Pool
    ) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(f"LOCK {storage.schema}.workflow_instances")
            async with within(3):
                with pytest.raises(OperationTimeoutError):
                    async with storage.transaction(timeout=0.2) as transaction:
                        await transaction.get("x")
        with pytest.raises(InvalidValueError, match="^timeout is "):
            async with storage.transaction(timeout=31):
                pass


class TestExpiry:
    """What breaks one transaction's connection mostly breaks the others too."""

    @pytest.fixture
    async def two(self, start: Start) -> AsyncIterator[AsyncStorage]:
        async with start(max_size=2) as storage:
            yield storage

    async def backends(self, storage: AsyncStorage) -> set[int]:
        async with AsyncExitStack() as stack:
            both = [await stack.enter_async_context(storage.transaction()) for _ in range(2)]
            return {transaction.connection.get_server_pid() for transaction in both}

    async def test_a_demoted_primary_is_left(self, two: AsyncStorage) -> None:
        before = await self.backends(two)
        with pytest.raises(UnavailableError):
            async with two.transaction() as transaction:
                await transaction.connection.execute("SET TRANSACTION READ ONLY")
                await transaction.put(order())

        assert before.isdisjoint(await self.backends(two))

    async def test_also_when_a_statement_of_the_callers_own_finds_out(
        self, two: AsyncStorage
    ) -> None:
        before = await self.backends(two)
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            async with two.transaction() as transaction:
                await transaction.connection.execute("SET TRANSACTION READ ONLY")
                await transaction.connection.execute(f"DELETE FROM {two.schema}.workflow_instances")

        assert before.isdisjoint(await self.backends(two))

    async def test_also_when_the_commit_finds_out(self, two: AsyncStorage, pool: Pool) -> None:
        before = await self.backends(two)
        with pytest.raises(ConnectionLostError) as caught:
            async with two.transaction() as transaction:
                await transaction.put(order())
                pid = transaction.connection.get_server_pid()
                await pool.execute("SELECT pg_terminate_backend($1::integer, 5000)", pid)

        assert before.isdisjoint(await self.backends(two))
        assert caught.value.retryable

    async def test_an_error_of_the_callers_leaves_the_others_alone(self, two: AsyncStorage) -> None:
        before = await self.backends(two)
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with two.transaction() as transaction:
                await transaction.connection.execute("SELECT 1 / 0")

        assert await self.backends(two) == before


async def test_one_that_breaks_before_its_commit_is_sent_was_not_applied(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise asyncpg.ConnectionDoesNotExistError("gone")

    with monkeypatch.context() as patch, pytest.raises(ConnectionLostError) as caught:
        async with storage.transaction() as transaction:
            await transaction.put(order())
            patch.setattr(type(transaction.connection), "execute", broken)
    assert caught.value.applied == "no"
    assert await storage.count() == 0
