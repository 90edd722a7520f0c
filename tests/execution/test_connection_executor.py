"""Statements on one connection, one after another, and the transactions around them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    ConcurrentUseError,
    ConflictError,
    ConnectionLostError,
    Instance,
    InstanceExistsError,
    RejectedError,
    SerializationError,
    TransactionEndedError,
)
from hephaestus_pg.execution import connection_executor
from hephaestus_pg.verbs import bulk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick


def order(id: str = "orderid::1", workflow: str = "Order", **fields: Any) -> Instance:
    return Instance(id, workflow, **fields)


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


class TestWhatIsLeftBehind:
    """On a connection of the user's, who goes on with it."""

    async def test_what_follows_a_cancelled_beginning_is_committed(
        self, storage: AsyncStorage, dsn: str
    ) -> None:
        acknowledged = 0
        for verb in ("put_many", "delete_many"):
            connection = await asyncpg.connect(dsn)
            using = storage.using(connection)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):  # BEGIN is sent, and not waited for
                    await (using.put_many if verb == "put_many" else using.delete_many)([])
            with suppress(ConnectionLostError):  # on a machine too slow to roll back in time
                await using.put(order(verb))
                acknowledged += 1
            await connection.close()
        assert await storage.count() == acknowledged

    async def test_who_came_in_between_may_begin_a_transaction_afterwards(
        self, storage: AsyncStorage, dsn: str
    ) -> None:
        connection = await asyncpg.connect(dsn)
        sleep = asyncio.create_task(connection.execute("SELECT pg_sleep(0.2)"))
        await asyncio.sleep(0)
        with pytest.raises(ConcurrentUseError):
            await storage.using(connection).put_many([order()])
        await sleep
        async with connection.transaction():
            await storage.using(connection).put(order("orderid::2"))
        await connection.close()
        assert await storage.count() == 1

    async def test_a_part_that_cannot_be_taken_back_is_not_committed_with_the_rest(
        self, storage: AsyncStorage, dsn: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Slow(asyncpg.Connection):
            async def execute(self, query: str, *given: Any, **options: Any) -> str:
                if "ROLLBACK TO" in query:
                    await asyncio.sleep(60)
                done: str = await super().execute(query, *given, **options)
                return done

        monkeypatch.setattr(bulk, "CHUNK_ROWS", 1)
        monkeypatch.setattr(connection_executor, "RELEASE_SECONDS", 0.1)
        connection = await asyncpg.connect(dsn, connection_class=Slow)
        with pytest.raises(asyncpg.InterfaceError, match="closed"):
            async with connection.transaction():
                with pytest.raises(SerializationError):
                    await storage.using(connection).put_many(
                        [order("a"), order("b", runtime_metadata={"x": b""})]
                    )
        assert await storage.count() == 0

    async def test_one_that_is_closed_or_back_in_its_pool_is_an_error_of_ours(
        self, storage: AsyncStorage, pool: Pool, dsn: str
    ) -> None:
        async with pool.acquire() as released:
            pass
        closed = await asyncpg.connect(dsn)
        await closed.close()
        for connection in (released, closed):
            using = storage.using(connection)
            for call in (using.put(order()), using.put_many([order()]), using.delete_many(["a"])):
                with pytest.raises(ConnectionLostError) as caught:
                    await call
                assert caught.value.applied == "no"


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


@pytest.mark.parametrize("ended", ("COMMIT", "ROLLBACK"))
async def test_nothing_commits_by_itself_after_a_statement_that_ended_the_transaction(
    storage: AsyncStorage, ended: str
) -> None:
    async with storage.transaction() as transaction:
        await transaction.put(order())
        await transaction.connection.execute(ended)
        for call in (
            transaction.get("x"),
            transaction.put(order("x")),
            transaction.put_many([order("x")]),
            transaction.modify("x", lambda held: held),
        ):
            with pytest.raises(TransactionEndedError, match=f"{storage.name}.*COMMIT or ROLLBACK"):
                await call
    assert await storage.count() == (ended == "COMMIT")


async def test_a_transaction_goes_on_in_one_that_is_chained_to_it(storage: AsyncStorage) -> None:
    with pytest.raises(ZeroDivisionError):
        async with storage.transaction() as transaction:
            await transaction.put(order("kept"))
            await transaction.connection.execute("COMMIT AND CHAIN")
            await transaction.put(order("taken back"))
            raise ZeroDivisionError
    assert [each.id for each in await storage.query()] == ["kept"]


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
