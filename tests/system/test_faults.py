"""Dead connections, silent networks, deadlines: what a storage makes of each."""

from __future__ import annotations

import asyncio
import os
from math import inf, nan
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    ConnectionLostError,
    CorruptInstanceError,
    DatabaseError,
    Instance,
    InvalidTypeError,
    InvalidValueError,
    OperationTimeoutError,
    SchemaOutdatedError,
    WrongEventLoopError,
)
from hephaestus_pg.execution import pool_executor
from tests.support.catalog import WAIT_SECONDS
from tests.support.lag import within

if TYPE_CHECKING:
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]


def order(id: str = "orderid::1", **fields: Any) -> Instance:
    return Instance(id, "Order", **fields)


async def kill_backends(pool: Pool, name: str) -> int:
    return len(
        await pool.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
            name,
        )
    )


class TestDeadConnections:
    async def test_the_first_call_after_a_kill_succeeds(
        self, small: AsyncStorage, pool: Pool
    ) -> None:
        for n in range(5):
            await small.put(order())
            assert await kill_backends(pool, small.schema)
            match n:
                case 0:
                    assert await small.get("orderid::1") is not None
                case 1:
                    assert (await small.put(order())).revision is not None
                case 2:
                    assert await small.count() == 1
                case 3:
                    assert len(await small.put_many([order(), order("orderid::2")])) == 2
                case 4:
                    assert await small.delete("orderid::1")

    async def test_a_transaction_is_not_tried_again(self, small: AsyncStorage, pool: Pool) -> None:
        with pytest.raises(ConnectionLostError):
            async with small.transaction() as transaction:
                await transaction.put(order())
                await kill_backends(pool, small.schema)
                await transaction.put(order())

        assert await small.count() == 0


class TestDeadlines:
    async def test_waiting_for_a_row_ends_and_frees_the_connection(
        self, small: AsyncStorage, pool: Pool
    ) -> None:
        await small.put(order())
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(f"LOCK {small.schema}.workflow_instances")
            results = await asyncio.gather(
                *(small.put(order(), timeout=0.3) for _ in range(20)),
                *(small.count(timeout=0.3) for _ in range(5)),
                return_exceptions=True,
            )
        assert {type(result) for result in results} == {OperationTimeoutError}
        applied = {result.applied for result in results if isinstance(result, DatabaseError)}
        assert applied <= {"no", "unknown"}
        # Both slots are back: two transactions at once, and the table free again.
        async with small.transaction() as one, small.transaction() as two:
            assert await one.count() == await two.count() == 1

    async def test_waiting_for_a_connection_ends_too(self, small: AsyncStorage) -> None:
        async with small.transaction(), small.transaction():
            with pytest.raises(OperationTimeoutError) as caught:
                await small.get("x", timeout=0.2)
            assert caught.value.applied == "no"

    async def test_a_call_past_its_deadline_costs_no_connection(self, small: AsyncStorage) -> None:
        async def backends() -> set[int]:
            async with small.transaction() as one, small.transaction() as two:
                return {one.connection.get_server_pid(), two.connection.get_server_pid()}

        before = await backends()
        for call in (
            small.put(order(), timeout=1e-9),
            small.get("x", timeout=1e-9),
            small.put_many([order()], timeout=1e-9),
        ):
            with pytest.raises(OperationTimeoutError) as caught:
                await call
            assert caught.value.applied == "no"
        assert await small.count() == 0
        assert await backends() == before

    async def test_what_was_given_up_is_not_done_much_later(
        self, small: AsyncStorage, pool: Pool
    ) -> None:
        waiting = """
            SELECT count(*) FROM pg_stat_activity
            WHERE application_name = $1 AND wait_event_type = 'Lock'
        """
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(f"LOCK {small.schema}.workflow_instances")
            for timeout in (0.3, 1, 5, 25):
                with pytest.raises(OperationTimeoutError) as caught:
                    await small.put(order(), timeout=timeout)
                if caught.value.applied != "no":  # by its deadline it was sent
                    break
            assert caught.value.applied == "unknown"
            async with asyncio.timeout(WAIT_SECONDS):
                while await pool.fetchval(waiting, small.schema):
                    await asyncio.sleep(0.02)
        assert await small.count() == 0

    async def test_the_server_ends_a_statement_before_the_deadline(
        self, start: Start, migrated: str, pool: Pool
    ) -> None:
        async with start(timeout=1) as storage:
            async with storage.transaction() as transaction:
                shown = await transaction.connection.fetchval("SHOW statement_timeout")
            assert shown == "901ms"
        async with start(server_settings={"statement_timeout": shown}) as storage:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(f"LOCK {migrated}.workflow_instances")
                with pytest.raises(OperationTimeoutError, match="statement timeout") as caught:
                    await storage.put(order())
            assert caught.value.applied == "no"
            assert await storage.count() == 0

    @pytest.mark.parametrize("timeout", (0, -1, True, "1", 31))
    async def test_a_timeout_is_seconds_up_to_the_storages_own(
        self, storage: AsyncStorage, timeout: Any
    ) -> None:
        with pytest.raises(InvalidValueError, match="^timeout is "):
            await storage.get("x", timeout=timeout)

    @pytest.mark.parametrize("timeout", (inf, nan, 3e6, 0))
    async def test_a_storages_timeout_is_one_that_a_server_can_keep(
        self, dsn: str, timeout: float
    ) -> None:
        with pytest.raises(InvalidValueError, match="^timeout is .* up to 2000000$"):
            await AsyncStorage.start(dsn, timeout=timeout)

    async def test_a_storages_timeout_may_be_days(self, start: Start) -> None:
        async with start(timeout=2e6) as storage:
            assert await storage.count() == 0

    async def test_a_storage_checks_its_own_timeout_too(self, dsn: str) -> None:
        with pytest.raises(InvalidTypeError, match="timeout"):
            await AsyncStorage.start(dsn, timeout="1")  # type: ignore[arg-type]


class TestCorruptRows:
    @staticmethod
    async def _five(storage: AsyncStorage, pool: Pool, change: str) -> list[str]:
        """The ids of five rows, of which that of ``x::1`` is changed behind our back."""
        ids = [f"x::{n}" for n in range(5)]
        await storage.put_many([order(id) for id in ids])
        await pool.execute(
            f"UPDATE {storage.schema}.workflow_instances SET {change} WHERE id = 'x::1'"
        )
        return ids

    async def test_one_may_be_skipped(
        self, storage: AsyncStorage, pool: Pool, caplog: pytest.LogCaptureFixture
    ) -> None:
        await self._five(storage, pool, "status = 'paused'")
        deep = "[" * 5000 + "]" * 5000
        await pool.execute(
            f"UPDATE {storage.schema}.workflow_instances SET state = $1::text::jsonb"
            " WHERE id = 'x::3'",
            f'{{"context": {{"initial": {{"a": {deep}}}}}}}',
        )

        with pytest.raises(CorruptInstanceError):
            await storage.query()
        found = await storage.query(on_error="skip", order_by="id")
        streamed = [instance async for instance in storage.stream(on_error="skip")]

        assert [instance.id for instance in found] == ["x::0", "x::2", "x::4"]
        assert streamed == found
        assert "x::1" in caplog.text
        assert "x::3" in caplog.text
        with pytest.raises(InvalidValueError, match="on_error"):
            await storage.query(on_error="ignore")  # type: ignore[arg-type]

    @pytest.mark.parametrize("moment", ("infinity", "-infinity", "12000-01-01", "0044-03-15 BC"))
    @pytest.mark.parametrize("column", ("inserted_at", "updated_at"))
    async def test_a_moment_that_python_does_not_know_is_its_rows_own(
        self, storage: AsyncStorage, pool: Pool, column: str, moment: str
    ) -> None:
        ids = await self._five(storage, pool, f"{column} = '{moment}'")

        # All but the first are one statement.
        got = await asyncio.gather(*map(storage.get, ids), return_exceptions=True)
        with pytest.raises(CorruptInstanceError, match="'x::1' .* years 1 to 9999"):
            await storage.query()
        found = await storage.query(on_error="skip", order_by="id")
        streamed = [instance async for instance in storage.stream(on_error="skip")]

        assert [type(each) for each in got] == [Instance, CorruptInstanceError] + [Instance] * 3
        assert [instance.id for instance in found] == ["x::0", "x::2", "x::3", "x::4"]
        assert streamed == found

    async def test_a_put_that_keeps_such_a_moment_says_that_it_was_written(
        self, storage: AsyncStorage, pool: Pool
    ) -> None:
        ids = await self._five(storage, pool, "inserted_at = 'infinity'")
        revisions = (
            f"SELECT array_agg(revision ORDER BY id) FROM {storage.schema}.workflow_instances"
        )
        before = await pool.fetchval(revisions)

        put = await asyncio.gather(*(storage.put(order(id)) for id in ids), return_exceptions=True)

        assert [type(each) for each in put] == [Instance, CorruptInstanceError] + [Instance] * 3
        assert str(put[1]).endswith("its state has been written")
        assert await pool.fetchval(revisions) == [revision + 1 for revision in before]


class TestEnds:
    async def test_a_fork_is_told_so(self, storage: AsyncStorage) -> None:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            said = b"no error"
            try:
                asyncio.run(storage.get("x"))
            except WrongEventLoopError as error:
                said = str(error).encode()
            except BaseException as error:  # noqa: BLE001
                said = repr(error).encode()
            os.write(writing, said)
            os._exit(0)
        os.waitpid(pid, 0)  # noqa: ASYNC222 - it ends at once
        said = os.read(reading, 1000)
        os.close(reading)
        os.close(writing)

        assert b"or to the parent process" in said

    async def test_closing_a_storage_whose_network_is_gone_ends(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pool_executor, "RELEASE_SECONDS", 0.2)
        storage = await start()
        # Its connections never say goodbye.
        monkeypatch.setattr(asyncpg.Pool, "close", lambda _: asyncio.Event().wait())
        async with within(5):
            await storage.close()

    async def test_the_servers_refusal_is_not_tried_again(
        self, storage: AsyncStorage, pool: Pool, caplog: pytest.LogCaptureFixture
    ) -> None:
        await pool.execute(f"DROP TABLE {storage.schema}.workflow_instances")

        with pytest.raises(SchemaOutdatedError, match="does not exist"):
            await storage.get("x")
        assert not caplog.text
