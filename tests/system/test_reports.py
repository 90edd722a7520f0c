"""What users of other libraries reported of their programs: loops, tasks, processes, their ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import unittest
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Context as DecimalContext
from decimal import FloatOperation, Inexact, localcontext
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from hephaestus_pg import (
    AsyncStorage,
    ExecutionEntry,
    Instance,
    Names,
    Status,
    WrongEventLoopError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from asyncpg import Pool as AnyPool

    from tests.support.starting import Start

    Pool = AnyPool[Any]

SESSIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = $1
"""
WAITING = f"{SESSIONS} AND wait_event_type = 'Lock'"


def new(id: str, **context: Any) -> Instance:
    return Instance.new("Order", context, id=id)


@pytest.fixture
async def small(start: Start, migrated: str) -> AsyncIterator[AsyncStorage]:
    """A storage on one connection, whose loss would be noticed."""
    async with start(max_size=1, server_settings={"application_name": migrated}) as storage:
        yield storage


@pytest.fixture
def own_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that a program keeps in a module, as workers that were written for threads."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class TestProcesses:
    def test_a_worker_that_inherits_storage_and_loop_is_refused(
        self, dsn: str, schema: str, own_loop: asyncio.AbstractEventLoop
    ) -> None:
        """MagicStack/asyncpg#1037, dannyvfilms/Floppy#341, the-momentum/python-ai-kit#122.

        A module starts the storage; then rq, Celery or gunicorn's preload forks, and the child goes
        on with the loop that it has inherited, on the sockets of its parent.
        """
        from hephaestus_pg import migrations

        async def start() -> AsyncStorage:
            await migrations.up(dsn, schema=schema)
            return await AsyncStorage.start(
                dsn, name="forked", schema=schema, references=Names(), timeout=5
            )

        storage = own_loop.run_until_complete(start())
        own_loop.run_until_complete(storage.put(new("a")))
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            for call in (storage.get("a"), storage.put(new("b")), storage.close()):
                try:
                    own_loop.run_until_complete(call)
                    os.write(writing, b"nothing ")
                except BaseException as error:  # noqa: BLE001
                    os.write(writing, f"{type(error).__name__} ".encode())
            os._exit(0)
        os.waitpid(pid, 0)
        said = os.read(reading, 1000).decode()
        os.close(reading)
        os.close(writing)
        try:
            assert said.split() == ["WrongEventLoopError"] * 3
            found = own_loop.run_until_complete(storage.get_many(["a", "b"]))
            assert found.keys() == {"a"}
        finally:
            own_loop.run_until_complete(storage.close())

    @pytest.mark.parametrize("flags", (("-O",), ("-OO", "-W", "error"), ("-X", "dev")), ids=str)
    def test_a_program_that_never_closes_ends_without_a_word(
        self, dsn: str, schema: str, flags: tuple[str, ...]
    ) -> None:
        """sqlalchemy/sqlalchemy#9234: what was left open raised while the program ended.

        Without asserts, without docstrings, with every warning an error, in debug mode.
        """
        code = """if True:
            import asyncio, sys
            from hephaestus_pg import (
                AsyncStorage,
                Instance,
                Names,
                migrations,
            )

            async def main():
                asyncio.get_running_loop().slow_callback_duration = 100  # of a busy machine
                dsn, schema = sys.argv[1:]
                await migrations.up(dsn, schema=schema)
                storage = await AsyncStorage.start(dsn, schema=schema, references=Names())
                await asyncio.gather(
                    *[storage.put(Instance.new("Order", {}, id=str(n))) for n in range(20)]
                )
                async for instance in storage.stream():
                    break
                print(await storage.count())

            asyncio.run(main())
        """
        done = subprocess.run(
            [sys.executable, *flags, "-c", code, dsn, schema],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "20\n", "")

    async def test_control_c_ends_the_program_and_its_statements(
        self, dsn: str, migrated: str, pool: Pool
    ) -> None:
        """psycopg/psycopg#543, janbjorge/pgqueuer#282: queries ran on, tracebacks showed."""
        code = """if True:
            import asyncio, signal, sys
            from hephaestus_pg import (
                AsyncStorage,
                Instance,
                Names,
            )

            # A shell has its background jobs ignore it, and so the tests that run in one.
            signal.signal(signal.SIGINT, signal.default_int_handler)

            async def main():
                dsn, schema = sys.argv[1:]
                settings = {"application_name": schema}
                # asyncpg, cancelled while it asks for TLS, says "unexpected connection_lost()".
                async with AsyncStorage.start(
                    dsn, schema=schema, references=Names(), server_settings=settings, ssl=False
                ) as storage, asyncio.TaskGroup() as group:
                    for n in range(20):
                        group.create_task(storage.put(Instance.new("Order", {}, id=str(n % 5))))

            asyncio.run(main())
        """
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(f"LOCK TABLE {migrated}.workflow_instances")
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-X", "dev", "-c", code, dsn, migrated),
                stderr=subprocess.PIPE,
            )
            async with asyncio.timeout(60):
                while not await pool.fetchval(WAITING, migrated):
                    await asyncio.sleep(0.01)
                process.send_signal(signal.SIGINT)
                _, said = await process.communicate()
                while await pool.fetchval(WAITING, migrated):
                    await asyncio.sleep(0.01)
        lines = said.decode().splitlines()
        assert lines[-1] == "KeyboardInterrupt", said.decode()
        assert not [line for line in lines if "never retrieved" in line or "destroyed" in line]


class TestLoops:
    async def test_another_threads_loop_is_told_so_and_can_hand_its_call_over(
        self, small: AsyncStorage
    ) -> None:
        """logicblocks/event.store#72, psycopg/psycopg#737: a pool hung in a second event loop."""
        loop = asyncio.get_running_loop()

        def elsewhere() -> Any:
            with pytest.raises(WrongEventLoopError):
                asyncio.run(small.get("a"))
            with pytest.raises(WrongEventLoopError):
                asyncio.run(small.close())
            return asyncio.run_coroutine_threadsafe(small.put(new("a")), loop).result(30)

        written = await asyncio.to_thread(elsewhere)
        assert await small.get("a") == written

    async def test_a_clock_that_stands_still_holds_nothing_up(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """spulec/freezegun#563: a frozen clock is the event loop's too, and no timer fires then."""
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now)
        async with start() as storage:
            await asyncio.gather(*[storage.put(new(f"{n}")) for n in range(30)])
            async with storage.transaction() as tx:
                await tx.put_many([new("a")])
            done = asyncio.create_task(storage.wait("a", timeout=1))
            await storage.modify("a", lambda it: replace(it, status=Status.COMPLETED))
            assert (await done).id == "a"
            async with (
                storage.runner(workflows=["Order"]) as runner,
                await anext(runner.claims()) as claimed,
            ):
                assert claimed.id != "a"
        monkeypatch.undo()

    def test_each_unittest_has_a_loop_of_its_own(self, dsn: str, schema: str) -> None:
        """MagicStack/asyncpg#863: "another operation is in progress" when tests share an engine."""
        from hephaestus_pg import migrations

        class Case(unittest.IsolatedAsyncioTestCase):
            async def asyncSetUp(self) -> None:
                await migrations.up(dsn, schema=schema)
                self.storage = await AsyncStorage.start(
                    dsn, name="unittest", schema=schema, references=Names()
                )
                self.addAsyncCleanup(self.storage.close)

            async def test_first(self) -> None:
                await asyncio.gather(*[self.storage.put(new(str(n))) for n in range(10)])

            async def test_second(self) -> None:
                async with self.storage.transaction() as tx:
                    await tx.put(new("a"))

        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
        assert (result.testsRun, result.errors, result.failures) == (2, [], [])

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
    @pytest.mark.parametrize("batching", (True, False))
    async def test_tasks_that_begin_at_once_change_nothing(
        self, start: Start, *, batching: bool
    ) -> None:
        """python/cpython#124309: a library took its tasks for not yet begun."""
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        try:
            async with start(batching=batching) as storage:
                async with asyncio.TaskGroup() as group:
                    puts = [group.create_task(storage.put(new(str(n % 20)))) for n in range(200)]
                written = {(put.result().id, put.result().revision) for put in puts}
                assert len(written) == 200  # each has raised it by one
                assert {(each.id, each.revision) for each in await storage.query()} <= written
                doomed = [asyncio.create_task(storage.get(str(n % 20))) for n in range(50)]
                for task in doomed[::2]:
                    task.cancel()
                await asyncio.gather(*doomed, return_exceptions=True)
                assert (await storage.get("0")) is not None
        finally:
            loop.set_task_factory(None)


class TestTasks:
    async def test_a_scope_that_cancels_every_wait_costs_no_connection(
        self, small: AsyncStorage, pool: Pool
    ) -> None:
        """sqlalchemy/sqlalchemy#8145 and #12077, mozilla-ai/otari#1236: Starlette's middleware.

        anyio cancels again whatever is awaited on the way out.
        """

        async def in_transaction() -> None:
            async with small.transaction() as tx:
                await tx.put(new("b"))

        for pause in [0.0, 0.0005, 0.001, 0.002, 0.004] * 8:
            with anyio.move_on_after(pause):
                async with anyio.create_task_group() as group:
                    for n in range(5):
                        group.start_soon(small.put, new(f"a{n}"))
                    group.start_soon(in_transaction)
        assert (await small.put(new("a0"))).revision is not None
        async with asyncio.timeout(30):
            while await pool.fetchval(SESSIONS, small.schema) > 1:
                await asyncio.sleep(0.01)

    async def test_a_generator_left_in_its_transaction_gives_the_connection_back(
        self, small: AsyncStorage
    ) -> None:
        """sqlalchemy/sqlalchemy#11125, aegra/aegra#530: streams whose clients had gone."""

        async def rows() -> AsyncIterator[int]:
            async with small.transaction() as tx:
                await tx.put(new("a"))
                for n in range(3):
                    yield n

        async for _ in rows():
            break
        assert await small.get("a") is None
        begun = rows()
        assert await anext(begun) == 0
        await asyncio.create_task(begun.aclose())  # type: ignore[attr-defined]
        assert await small.get("a") is None
        begun = rows()
        assert await asyncio.create_task(anext(begun)) == 0  # type: ignore[arg-type]
        assert [n async for n in begun] == [1, 2]
        assert await small.get("a") is not None

    async def test_a_stream_is_read_by_one_task_after_another(self, small: AsyncStorage) -> None:
        """Of the same kind as the generators: each step in another task, and writes in between."""
        await small.put_many(new(f"{n:03}") for n in range(30))
        stream = small.stream()
        seen: list[Instance] = []
        for _ in range(10):
            seen.append(await asyncio.create_task(anext(stream)))  # type: ignore[arg-type]  # noqa: PERF401
        await asyncio.gather(*[small.put(each) for each in seen])
        seen += [each async for each in stream]
        assert [each.id for each in seen] == [f"{n:03}" for n in range(30)]


class TestValuesOfOtherLibraries:
    async def test_moments_and_texts_of_other_classes_will_do(self, small: AsyncStorage) -> None:
        """spulec/freezegun#215: what a test froze came back as another class, or not at all."""

        class Moment(datetime):
            """As freezegun puts in the place of datetime, and pendulum gives."""

        class Ids(StrEnum):
            FIRST = "order::1"

        now = Moment.now(UTC)
        entry = ExecutionEntry(step_ref="charge", event="started", timestamp=now)
        order = replace(new(Ids.FIRST, at=now), execution_history=(entry,))
        stored, _ = await asyncio.gather(small.put(order), small.put(new("order::2")))
        read, found = await asyncio.gather(small.get(Ids.FIRST), small.get("order::2"))
        assert read == stored
        assert found is not None
        assert read is not None
        assert read.execution_history[0].timestamp == now
        assert await small.count(updated_before=now + timedelta(minutes=1)) == 2
        assert await small.prune(finished_before=now) == 0

    async def test_a_decimal_context_of_the_programs_is_not_ours(self, small: AsyncStorage) -> None:
        """Of the same kind as the moments: what a program sets for its own figures."""
        numbers = {"n": 10**400 + 1, "large": 1e300, "small": 5e-324}
        due_at = datetime(2031, 4, 5, 6, 7, 8, 910_111, UTC)
        strict = DecimalContext(prec=6, traps=[Inexact, FloatOperation])
        with localcontext(strict):
            await small.put(replace(new("a", **numbers), due_at=due_at))
            read = await small.get("a")
        assert read is not None
        assert dict(read.context.initial) == numbers
        assert read.due_at == due_at
