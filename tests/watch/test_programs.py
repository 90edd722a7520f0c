"""Programs that wait: how they end, what they leave behind, and the pools that they give."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

import hephaestus_pg
from hephaestus_pg import (
    AsyncStorage,
    CorruptInstanceError,
    Instance,
    Names,
    OperationTimeoutError,
    Status,
    StorageClosedError,
    WrongEventLoopError,
)
from tests.support.lag import happens, within
from tests.support.proxied import through
from tests.watch.conftest import done, listens, waiting, watchers_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg

    from tests.chaos.proxy import Proxy
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]


UNCLOSED = """
import asyncio, sys
from hephaestus_pg import AsyncStorage, Names

async def main(name):
    asyncio.get_running_loop().slow_callback_duration = 100  # of a busy machine
    dsn, schema = sys.argv[1:3]
    storage = await AsyncStorage.start(dsn, schema=schema, name=name, references=Names())
    tasks = [asyncio.create_task(storage.wait(str(number))) for number in range(3)]
    while not storage._subscription.is_listening:
        await asyncio.sleep(0.01)
    return asyncio.get_running_loop(), tasks

for number in range(int(sys.argv[3])):
    loop, tasks = asyncio.run(main(str(number)))
    assert all(task.cancelled() for task in tasks)
    assert asyncio.all_tasks(loop) == set()
"""


class TestShutdown:
    async def test_every_task_is_cancelled_and_a_handler_waits_again(
        self, storage: AsyncStorage, quick: None
    ) -> None:
        before = [waiting(storage, str(number)) for number in range(3)]
        await listens(storage)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.wait(before)
        after = waiting(storage)
        await listens(storage)
        stored = await storage.put(done())
        assert await after == stored

    @pytest.mark.parametrize("can_listen", (True, False))
    async def test_tasks_that_are_not_the_callers_are_cancelled(
        self, storage: AsyncStorage, pool: Pool, can_listen: bool, quick: None
    ) -> None:
        storage._can_listen = can_listen
        task = waiting(storage)
        await happens(lambda: storage._watchers.looks)
        for each in asyncio.all_tasks() - {asyncio.current_task(), task}:
            each.cancel()
        await asyncio.sleep(0)
        await pool.execute(f"""
            INSERT INTO {storage.schema}.workflow_instances
                (id, workflow, status, inserted_at, updated_at)
            VALUES ('x', 'Order', 'completed', now(), now())
        """)
        async with asyncio.timeout(10):
            await task

    @pytest.mark.parametrize(("flags", "times"), ((("-X", "dev"), "1"), ((), "2")), ids=str)
    async def test_a_program_that_never_closes_ends_without_a_word(
        self, dsn: str, migrated: str, flags: tuple[str, ...], times: str
    ) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *flags, "-c", UNCLOSED, dsn, migrated, times),
            env={**os.environ, "PYTHONPATH": str(Path(hephaestus_pg.__file__).parents[1])},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert (process.returncode, said.decode()) == (0, "")

    async def test_closing_gives_each_who_waits_an_error_of_his_own(
        self, other: AsyncStorage
    ) -> None:
        tasks = [waiting(other, str(number % 7)) for number in range(100)]
        await listens(other)
        await other.close()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(error) for error in errors} == {StorageClosedError}
        assert len(set(map(id, errors))) == len(errors)

    async def test_closing_takes_no_longer_where_all_connections_are_dead(
        self, start: Start, dsn: str, proxy: Proxy
    ) -> None:
        far = await start(through(dsn, proxy.port))
        task = waiting(far)
        await listens(far)
        proxy.lose()
        async with within(5):
            await far.close()
        with pytest.raises(StorageClosedError):
            await task

    async def test_a_generator_that_nobody_goes_on_with_ends_with_its_storage(
        self, other: AsyncStorage, quick: None
    ) -> None:
        await other.put(done())
        watching = cast("AsyncGenerator[Instance, None]", other.watch(["x"]))
        async with aclosing(watching) as left:
            await anext(left)
            await other.close()
            await happens(lambda: watchers_of(other)._task is None)
            with pytest.raises(StorageClosedError):
                await anext(left)

    async def test_a_generator_that_is_dropped_leaves_nothing_behind(
        self, storage: AsyncStorage
    ) -> None:
        await storage.put(done())
        async for _ in storage.watch(["x"]):
            break
        gc.collect()
        need = storage._subscription.everything
        await happens(lambda: not len(storage._watchers) and not need._those)

    async def test_a_fork_waits_for_nothing(self, storage: AsyncStorage) -> None:
        task = waiting(storage)
        await listens(storage)
        read, write = os.pipe()
        if not (child := os.fork()):
            try:
                asyncio.events._set_running_loop(None)
                loop = asyncio.new_event_loop()
                loop.run_until_complete(storage.wait("x"))
            except WrongEventLoopError:
                os.write(write, b"refused")
            finally:
                os._exit(0)
        os.close(write)
        await asyncio.to_thread(os.waitpid, child, 0)
        assert os.read(read, 100) == b"refused"
        os.close(read)
        stored = await storage.put(done())
        assert await task == stored
        assert storage._subscription.is_listening

    async def test_two_loops_in_two_threads_have_a_listener_each(
        self, storage: AsyncStorage, dsn: str
    ) -> None:
        async def program(name: str) -> None:
            async with AsyncStorage.start(
                dsn, schema=storage.schema, name=name, references=Names()
            ) as theirs:
                task = waiting(theirs, name)
                await listens(theirs)
                assert (await task).id == name

        names = [f"{storage.schema}_{number}" for number in "ab"]
        ended = [
            asyncio.ensure_future(asyncio.to_thread(asyncio.run, program(name))) for name in names
        ]
        for name in names:
            await storage.put(done(name))
        await asyncio.gather(*ended)


class TestHabits:
    async def test_a_task_factory_of_the_old_kind_changes_nothing(
        self, storage: AsyncStorage
    ) -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coroutine: asyncio.Task(coroutine, loop=loop))
        try:
            task = waiting(storage)
            await listens(storage)
            stored = await storage.put(done())
            assert await task == stored
        finally:
            loop.set_task_factory(None)

    async def test_a_thousand_short_waits_are_one_connection_and_cancel_nothing(
        self, start: Start, pool: Pool, schema: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        async with start(server_settings={"application_name": schema}) as storage:
            await storage.put(Instance("x", "Order"))
            for _ in range(1000):
                with pytest.raises(OperationTimeoutError):
                    await storage.wait("x", timeout=0.001)
            assert await pool.fetchval(count, schema) == 2
            assert storage.process_stats().failed_tries == 0
        assert [each for each in caplog.records if each.levelno > logging.INFO] == []

    async def test_an_id_that_is_deleted_and_inserted_again_is_news(
        self, storage: AsyncStorage, other: AsyncStorage
    ) -> None:
        seen: list[Instance] = []

        async def watch() -> None:
            async for each in other.watch(["x"]):
                seen.append(each)  # noqa: PERF401 - as they come

        first = await storage.put(Instance("x", "Order"))
        task = asyncio.create_task(watch())
        await happens(lambda: seen == [first])
        await storage.delete("x")
        second = await storage.insert(done())
        await happens(lambda: seen[-1] == second)
        assert (second.revision or 0) > (first.revision or 0)
        task.cancel()

    async def test_a_row_that_becomes_unreadable_is_an_error_and_can_be_watched_again(
        self, storage: AsyncStorage, pool: Pool, quick: None
    ) -> None:
        table = f"{storage.schema}.workflow_instances"
        order = await storage.put(Instance("x", "Order"))
        task = waiting(storage)
        await happens(lambda: storage._watchers.looks)
        await pool.execute(f"UPDATE {table} SET state = '[]'")
        with pytest.raises(CorruptInstanceError):
            await task
        await storage.put(order)
        task = waiting(storage, until="running")
        await storage.put(replace(order, status=Status.RUNNING))
        assert (await task).status is Status.RUNNING
