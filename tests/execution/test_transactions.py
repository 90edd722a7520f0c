from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    ConcurrentUseError,
    ConflictError,
    ConnectionLostError,
    Instance,
    InstanceExistsError,
    InvalidValueError,
    OperationTimeoutError,
    RejectedError,
    SerializationError,
    StorageClosedError,
    TransactionEndedError,
    UnavailableError,
)
from tests.chaos.proxy import Proxy
from tests.support.lag import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.faults import Faults
    from tests.support.starting import Start

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


class TestTransactionsThatAStatementBegan:
    """asyncpg's own ``transaction()`` refuses to begin in one that it has not begun itself."""

    @pytest.fixture
    async def connection(self, dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
        connection = await asyncpg.connect(dsn)
        yield connection
        await connection.close()

    async def test_every_verb_is_part_of_it(
        self, storage: AsyncStorage, connection: asyncpg.Connection[Any]
    ) -> None:
        await connection.execute("BEGIN")
        using = storage.using(connection)
        held = await using.put(await using.insert(order()))
        await using.put_many([order("x::1"), order("x::2"), order("x::3")])
        await using.update(held)
        assert await using.delete_many(["x::1"]) == {"x::1"}
        assert await using.delete("x::2")
        assert await using.prune(finished_before=datetime.now(UTC)) == 0
        assert len(await using.query()) == 2
        assert await storage.count() == 0
        assert connection.is_in_transaction()
        await connection.execute("ROLLBACK")
        assert await storage.count() == 0

        await connection.execute("BEGIN")
        await using.put_many([order("x::1")])
        await connection.execute("COMMIT")
        assert await storage.count() == 1

    async def test_a_part_that_fails_is_taken_back_by_itself(
        self, storage: AsyncStorage, connection: asyncpg.Connection[Any]
    ) -> None:
        await connection.execute(
            f"ALTER TABLE {storage.schema}.workflow_instances ADD CHECK (workflow <> 'refused');"
            "BEGIN; SAVEPOINT hephaestus_pg"
        )
        using = storage.using(connection)
        await using.put(order("before"))
        with pytest.raises(SerializationError):
            await using.put_many([order("a"), order("b", runtime_metadata={"x": b""})])
        with pytest.raises(RejectedError):
            await using.put_many([order("a"), order("b", workflow="refused")])
        assert connection.is_in_transaction()
        await using.put(order("after"))
        await connection.execute("COMMIT")
        assert sorted(i.id for i in await storage.query()) == ["after", "before"]

    async def test_one_that_has_failed_says_so(
        self, storage: AsyncStorage, connection: asyncpg.Connection[Any]
    ) -> None:
        await connection.execute("BEGIN")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("SELECT 1 / 0")
        for call in (storage.using(connection).put_many, storage.using(connection).delete_many):
            with pytest.raises(RejectedError, match="current transaction is aborted"):
                await call([])
        await connection.execute("ROLLBACK")

    async def test_the_drivers_own_savepoints_stay_as_they_are(
        self, storage: AsyncStorage, pool: Pool
    ) -> None:
        async with pool.acquire() as connection, connection.transaction():
            using = storage.using(connection)
            with pytest.raises(ZeroDivisionError):
                async with connection.transaction():
                    await using.put_many([order("a")])
                    raise ZeroDivisionError
            async with connection.transaction():
                await using.put_many([order("b")])
        assert [i.id for i in await storage.query()] == ["b"]


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

    async def test_before_its_first_statement_each_of_ours_commits_by_itself(
        self, storage: AsyncStorage, engine: Any
    ) -> None:
        """Nothing tells such a connection from one without a transaction: the README says so."""
        async with engine.begin() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            assert not raw.is_in_transaction()
            await storage.using(raw).put_many([order("b")])
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


async def test_a_cancelled_transaction_is_rolled_back_and_its_connection_free(start: Start) -> None:
    async with start(max_size=1) as storage:
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


@pytest.fixture
async def server() -> list[int]:
    """The port of the server behind ``proxied``, which may be changed; none yet."""
    return []


@pytest.fixture
async def proxy(dsn: str, server: list[int]) -> AsyncIterator[Proxy]:
    parts = urlsplit(dsn)
    if parts.hostname not in {"127.0.0.1", "localhost"}:
        pytest.skip("the proxy leads to a server on this machine only")
    server.append(parts.port or 5432)
    async with Proxy(lambda: server[-1]) as proxy:
        yield proxy


@pytest.fixture
async def proxied(dsn: str, start: Start, proxy: Proxy) -> AsyncIterator[AsyncStorage]:
    """A storage whose one connection leads through ``proxy``, and is open."""
    parts = urlsplit(dsn)
    user = parts.netloc.rpartition("@")[0]
    through = parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}").geturl()
    async with start(through, max_size=1) as storage:
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


async def test_reading_the_version_may_have_a_deadline_of_its_own(
    storage: AsyncStorage, faults: Faults
) -> None:
    faults.before("migrated_version", lambda: asyncio.sleep(9))
    async with within(2):
        with pytest.raises(OperationTimeoutError):
            await storage.migrated_version(timeout=0.2)


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
                await pool.execute("SELECT pg_terminate_backend($1, 5000)", pid)

        assert before.isdisjoint(await self.backends(two))
        assert caught.value.retryable

    async def test_an_error_of_the_callers_leaves_the_others_alone(self, two: AsyncStorage) -> None:
        before = await self.backends(two)
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with two.transaction() as transaction:
                await transaction.connection.execute("SELECT 1 / 0")

        assert await self.backends(two) == before
