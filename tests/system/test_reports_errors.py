"""What users of other libraries reported of errors: whom they reach, and what they undo."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    ConnectionLostError,
    Instance,
    OperationTimeoutError,
    RejectedError,
)

if TYPE_CHECKING:
    from asyncpg import Pool as AnyPool

    from tests.support.starting import Start

    Pool = AnyPool[Any]


def new(id: str, **context: Any) -> Instance:
    return Instance.new("Order", context, id=id)


async def refusing(pool: Pool, schema: str, body: str) -> None:
    """Have a trigger of the user's look at every row that is written."""
    await pool.execute(
        f"CREATE FUNCTION {schema}.looked() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {body} RETURN NEW; END $$;"
        f"CREATE TRIGGER looked BEFORE INSERT OR UPDATE ON {schema}.workflow_instances"
        f" FOR EACH ROW EXECUTE FUNCTION {schema}.looked()"
    )


async def together(calls: Any) -> list[Any]:
    return list(await asyncio.gather(*calls, return_exceptions=True))


class TestTransactions:
    """tlocke/pg8000#36, erleans/pgo#131, rust-postgres/rust-postgres#1334.

    PostgreSQL answers COMMIT of a transaction in which a statement failed with ROLLBACK, and no
    error: a block that had caught the statement's seemed to have committed.
    """

    @pytest.fixture
    async def orders(self, storage: AsyncStorage, pool: Pool) -> str:
        table = f"{storage.schema}.orders"
        await pool.execute(f"CREATE TABLE {table} (n integer PRIMARY KEY)")
        await pool.execute(f"INSERT INTO {table} VALUES (1)")
        return table

    async def test_an_error_that_was_caught_in_the_block_is_no_commit(
        self, storage: AsyncStorage, orders: str
    ) -> None:
        with pytest.raises(RejectedError, match="savepoint") as caught:
            async with storage.transaction() as tx:
                await tx.put(new("a"))
                with pytest.raises(asyncpg.UniqueViolationError):
                    await tx.connection.execute(f"INSERT INTO {orders} VALUES (1)")
        assert caught.value.applied == "no"
        assert not caught.value.retryable
        assert await storage.get("a") is None

    async def test_nor_is_an_error_of_a_verb(self, storage: AsyncStorage, pool: Pool) -> None:
        await refusing(pool, storage.schema, "IF NEW.id = 'bad' THEN RAISE 'no'; END IF;")
        with pytest.raises(RejectedError, match="savepoint"):
            async with storage.transaction() as tx:
                await tx.put(new("a"))
                with pytest.raises(RejectedError, match="no"):
                    await tx.put(new("bad"))
                with pytest.raises(RejectedError, match="savepoint"):
                    await tx.get("a")
        assert await storage.get("a") is None

    async def test_in_a_savepoint_it_may_be_caught(
        self, storage: AsyncStorage, orders: str
    ) -> None:
        async with storage.transaction() as tx:
            await tx.put(new("a"))
            with pytest.raises(asyncpg.UniqueViolationError):
                async with tx.connection.transaction():
                    await tx.connection.execute(f"INSERT INTO {orders} VALUES (1)")
        assert await storage.get("a") is not None

    async def test_a_connection_that_the_server_closed_had_no_effect(self, start: Start) -> None:
        """rwlove/home-ops#11747: timeouts of idle transactions and sessions, set for safety."""
        async with start() as storage:
            with pytest.raises(ConnectionLostError) as caught:
                async with storage.transaction() as tx:
                    await tx.put(new("a"))
                    await tx.connection.execute(
                        "SET LOCAL idle_in_transaction_session_timeout = '20ms'"
                    )
                    ended = asyncio.Event()
                    tx.connection.add_termination_listener(lambda _: ended.set())
                    await asyncio.wait_for(ended.wait(), 30)
            assert caught.value.applied == "no"
            assert await storage.get("a") is None


class TestRefusals:
    async def test_an_index_of_the_users_refuses_at_once_and_its_neighbours_not(
        self, storage: AsyncStorage, pool: Pool
    ) -> None:
        """janbjorge/pgqueuer#781: every unique violation was taken for the library's own race."""
        await pool.execute(
            f"CREATE UNIQUE INDEX one_number ON {storage.schema}.workflow_instances"
            " ((state #>> '{context,initial,number}'))"
        )
        await storage.put(new("a", number=1))
        with pytest.raises(RejectedError, match="one_number") as caught:
            await storage.put(new("b", number=1))
        assert not caught.value.retryable
        results = await together(
            storage.put(new(f"c{n}", number=1 if n == 20 else 100 + n)) for n in range(40)
        )
        refused = [n for n, result in enumerate(results) if not isinstance(result, Instance)]
        assert refused == [20]
        assert isinstance(results[20], RejectedError)
        with pytest.raises(RejectedError, match="one_number"):
            await storage.put_many([new("d", number=2), new("e", number=2)])

    @pytest.mark.parametrize("code", ("53100", "53200", "58030", "23505", "42P10"))
    async def test_what_may_pass_keeps_nobody_but_its_own_caller(
        self, storage: AsyncStorage, pool: Pool, code: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """colophon-group/jobseek#5757: one row, or a full disk, that held up a whole batch."""
        raised = f"RAISE EXCEPTION 'at (id)=(%)', NEW.id USING ERRCODE = '{code}'"
        detail = ", DETAIL = 'Key (id)=(x) already exists.'" if code == "23505" else ""
        await refusing(pool, storage.schema, f"IF NEW.id = 'c7' THEN {raised}{detail}; END IF;")
        calls = [asyncio.create_task(storage.put(new(f"c{n}"))) for n in range(12)]
        doomed = calls.pop(7)
        results = await asyncio.gather(*calls)
        assert len({each.id for each in results}) == 11
        async with asyncio.timeout(30):
            while "put in schema" not in caplog.text:  # it is tried again
                await asyncio.sleep(0.01)
        assert not doomed.done()  # it has until its deadline
        await pool.execute(f"DROP TRIGGER looked ON {storage.schema}.workflow_instances")
        assert (await doomed).id == "c7"
        assert "put_many in schema" not in caplog.text  # what they share is not

    async def test_what_the_server_ends_for_many_is_done_for_each(
        self, storage: AsyncStorage, pool: Pool
    ) -> None:
        """DataDog/integrations-core#4501: a role's statement_timeout, which each alone keeps."""
        await pool.execute(
            f"CREATE FUNCTION {storage.schema}.counted() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF (SELECT count(*) FROM given) > 2 THEN"
            " RAISE 'canceling statement due to statement timeout' USING ERRCODE = '57014';"
            " END IF; RETURN NULL; END $$;"
            f"CREATE TRIGGER counted AFTER INSERT ON {storage.schema}.workflow_instances"
            " REFERENCING NEW TABLE AS given"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {storage.schema}.counted()"
        )
        results = await together(storage.put(new(f"{n}")) for n in range(40))
        assert {type(each) for each in results} == {Instance}

    async def test_a_statement_that_somebody_cancels_ends_one_call_at_the_most(
        self, storage: AsyncStorage, pool: Pool
    ) -> None:
        """DapperLib/Dapper#809: "canceling statement due to user request", which nobody made."""
        key = f"hashtext('{storage.schema}')"
        await refusing(pool, storage.schema, f"PERFORM pg_advisory_xact_lock_shared({key});")
        cancelled = 0
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({key})")
            calls = asyncio.create_task(together(storage.put(new(f"{n}")) for n in range(12)))
            async with asyncio.timeout(30):
                while not cancelled:
                    cancelled = await pool.fetchval(
                        "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity"
                        " WHERE wait_event = 'advisory' AND query LIKE $1",
                        f"%{storage.schema}%unnest%",
                    )
                    await asyncio.sleep(0.01)
        results = await calls
        failed = [each for each in results if not isinstance(each, Instance)]
        assert len(failed) <= 1
        assert all(isinstance(each, OperationTimeoutError) for each in failed)
