"""A runner's life: its settings, its stop, its end with the storage and with the process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import hephaestus_pg
from hephaestus_pg import (
    AccessDeniedError,
    ClaimLostError,
    HephaestusError,
    Instance,
    InstanceExistsError,
    InvalidTypeError,
    InvalidValueError,
    RunnerEndedError,
    StaleInstanceError,
    Status,
    StorageClosedError,
    WrongEventLoopError,
)
from hephaestus_pg.runners.settings import backoff
from tests.support.faults import Faults
from tests.support.lag import happens, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hephaestus_pg import AsyncStorage, Runner
    from tests.runners.conftest import Table
    from tests.support.starting import Start


@pytest.mark.parametrize(
    ("options", "said"),
    (
        ({"workflows": []}, "workflows"),
        ({"workflows": "Order"}, "workflows"),
        ({"workflows": [7]}, "name|workflow|reference"),
        ({"lease": 0.9}, "lease is 0.9: give from 1"),
        ({"lease": "30"}, "lease"),
        ({"lease": float("nan")}, "lease"),
        ({"name": ""}, "name"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"retry_after": 2}, "retry_after"),
        ({"retry_after": lambda n: -1.0}, "retry_after is -1"),
        ({"retry_after": lambda n: None}, "retry_after is None"),
        ({"max_stall": 0}, "max_stall"),
    ),
)
async def test_a_wrong_setting_is_named(
    storage: AsyncStorage, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidValueError, match=said):
        storage.runner(**{"workflows": ["Order"], **options})


def test_the_backoff_doubles_up_to_five_minutes() -> None:
    assert [backoff(n) for n in (1, 2, 3, 8, 9, 1000)] == [2, 4, 8, 256, 300, 300]


async def test_a_transaction_has_no_runner(storage: AsyncStorage) -> None:
    async with storage.transaction() as transaction:
        with pytest.raises(InvalidTypeError, match="a runner is the storage's own"):
            transaction.runner(workflows=["Order"])


async def test_another_loop_and_a_closed_storage_are_named(start: Start) -> None:
    storage = await start()
    runner = await storage.runner(workflows=["Order"])

    async def elsewhere() -> None:
        for call in (runner.claim("x"), runner.stop(), anext(runner.claims())):
            with pytest.raises(WrongEventLoopError):
                await call

    await asyncio.to_thread(asyncio.run, elsewhere())
    await storage.close()
    assert [each async for each in runner.claims()] == []
    with pytest.raises(StorageClosedError):
        await storage.runner(workflows=["Order"])
    with pytest.raises(RunnerEndedError, match="it was stopped"):
        await runner.claim("x")


async def test_an_instance_is_inserted_and_owned_in_one_statement(
    storage: AsyncStorage, faults: Faults, table: Table
) -> None:
    async with storage.runner(workflows=["Order"]) as runner:
        claim = await runner.insert(Instance("x", "Order", runtime_metadata={"a": 1}))
        assert [name for name in faults.tried if name != "register"] == ["insert"]
        assert (await table.row("x"))["runner"] == runner.token
        with pytest.raises(InstanceExistsError):
            await runner.insert(Instance("x", "Order"))
        async with claim as held:
            await storage.update(replace(held, status=Status.COMPLETED))
        faults.lose_answer("insert")
        async with await runner.insert(Instance("y", "Order")) as held:
            assert held.runner == runner.token
        with pytest.raises(InvalidValueError, match="status"):
            await runner.insert(Instance("z", "Order", status=Status.WAITING))
        with pytest.raises(InvalidValueError, match="workflow"):
            await runner.insert(Instance("z", "Refund"))
        assert await storage.get("z") is None


async def test_stop_gives_back_at_once_and_counts_no_attempt(
    storage: AsyncStorage, table: Table
) -> None:
    ids = [f"x::{number}" for number in range(5)]
    await storage.put_many([Instance(id, "Order") for id in ids])
    runner = await storage.runner(workflows=["Order"], lease=60)
    at_work: list[str] = []
    unwound: list[str] = []

    async def work() -> None:
        async for claim in runner.claims():
            async with claim as held:
                at_work.append(held.id)
                try:
                    await asyncio.sleep(60)
                finally:
                    unwound.append(held.id)

    async with asyncio.TaskGroup() as group:  # which ends without an error
        for _ in range(8):
            group.create_task(work())
        await happens(lambda: len(at_work) == 5)
        async with within(2):
            await asyncio.gather(runner.stop(), runner.stop())
        assert sorted(unwound) == ids
        for id in ids:
            row = await table.row(id)
            assert (row["runner"], row["attempts"], row["due"]) == (None, 0, None)
    assert await storage.runners() == []


async def test_a_body_that_stops_its_own_runner_ends_by_itself(storage: AsyncStorage) -> None:
    await storage.insert(Instance("x", "Order"))
    async with storage.runner(workflows=["Order"]) as runner:
        async for claim in runner.claims():
            async with claim as held:
                async with within(2):
                    await runner.stop()
                with pytest.raises(StaleInstanceError):
                    await storage.update(replace(held, status=Status.COMPLETED))


async def test_what_fails_to_go_back_once_its_runner_is_stopped_is_not_tried_again(
    storage: AsyncStorage, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    await storage.insert(Instance("x", "Order"))
    runner = await storage.runner(workflows=["Order"])
    claim = await anext(aiter(runner.claims()))
    goes_on = asyncio.Event()
    faults.before("give_back", goes_on.wait)
    faults.fail("give_back", AccessDeniedError("not now", applied="no", retryable=False))

    async def work() -> None:
        async with claim:
            pass

    task = asyncio.create_task(work())
    await happens(lambda: "give_back" in faults.tried)
    task.cancel()
    await asyncio.wait({task})
    await runner.stop()
    goes_on.set()
    await happens(lambda: not runner._giving_back._tasks)
    assert "is given back later" not in caplog.text
    assert faults.planned == 0


async def test_an_insert_that_outlives_its_runner_leaves_nothing_owned(
    storage: AsyncStorage, faults: Faults, table: Table
) -> None:
    runner = await storage.runner(workflows=["Order"])
    goes_on = asyncio.Event()
    faults.before("insert", goes_on.wait)
    inserting = asyncio.create_task(runner.insert(Instance("x", "Order")))
    await happens(lambda: "insert" in faults.tried)
    await runner.stop()
    goes_on.set()
    with pytest.raises(ClaimLostError, match="it was stopped"):
        async with await inserting:
            pass
    row = await table.row("x")
    assert (row["runner"], row["attempts"]) == (None, 0)


async def test_a_body_that_ignores_its_cancellation_is_fenced(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hephaestus_pg.runners import runner as runners

    monkeypatch.setattr(runners, "UNWIND_SECONDS", 0.2)
    await storage.insert(Instance("x", "Order"))
    runner = await storage.runner(workflows=["Order"])
    stale: list[str] = []
    done = asyncio.Event()

    async def work() -> None:
        async for claim in runner.claims():
            async with claim as held:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    await done.wait()
                try:
                    await storage.update(replace(held, status=Status.COMPLETED))
                except StaleInstanceError as error:
                    stale.append(error.id)

    task = asyncio.create_task(work())
    await happens(lambda: runner._held.entered(but=None))
    await runner.stop()
    done.set()
    await task
    assert stale == ["x"]


async def test_closing_the_storage_stops_its_runners(start: Start, table: Table) -> None:
    storage = await start()
    await storage.insert(Instance("x", "Order"))
    runner = await storage.runner(workflows=["Order"])
    assert await runner.claim("x")
    await storage.close()
    assert (await table.row("x"))["runner"] is None


async def test_a_stop_without_a_server_ends_too(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    storage = await start()
    faults = Faults(storage, monkeypatch)
    runner = await storage.runner(workflows=["Order"])
    faults.fail("end_runner", AccessDeniedError("no", applied="no", retryable=False))
    await runner.stop()
    assert "could not give back" in caplog.text


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_a_fork_has_no_runner(storage: AsyncStorage) -> None:
    async with storage.runner(workflows=["Order"]) as runner:
        reader, writer = os.pipe()
        if not (child := os.fork()):
            try:
                runner.claim("x").send(None)
            except HephaestusError as error:
                os.write(writer, type(error).__name__.encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once
        assert os.read(reader, 100) == b"WrongEventLoopError"
        os.close(reader)


# A process that owns x and works on it until it is told to write.
WORKER = """
import asyncio, signal, sys
from dataclasses import replace
from hephaestus_pg import AsyncStorage, HephaestusError, Names, Status

async def main(dsn, schema, lease):
    async with AsyncStorage.start(dsn, schema=schema, references=Names()) as storage:
        async with storage.runner(workflows=["Order"], name="worker", lease=float(lease)) as runner:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(
                signal.SIGTERM, lambda: asyncio.ensure_future(runner.stop())
            )
            async for claim in runner.claims():
                try:
                    async with claim as held:
                        print("owns", held.id, flush=True)
                        try:
                            await asyncio.to_thread(sys.stdin.readline)
                        except asyncio.CancelledError:
                            print("cancelled", flush=True)
                            try:
                                await storage.update(replace(held, status=Status.FAILED))
                            except HephaestusError as error:
                                print(type(error).__name__, flush=True)
                            raise
                except HephaestusError as error:
                    print(type(error).__name__, flush=True)
                    return
        print("stopped", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@asynccontextmanager
async def worker(dsn: str, schema: str, lease: float) -> AsyncIterator[asyncio.subprocess.Process]:
    path = str(Path(hephaestus_pg.__file__).parents[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", WORKER, dsn, schema, str(lease)),
        env={**os.environ, "PYTHONPATH": path},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await asyncio.sleep(0)


async def said(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await process.stdout.readline()).decode().strip()


async def next_id(runner: Runner) -> str:
    async with asyncio.timeout(30):
        return (await anext(runner.claims())).id


async def test_a_process_that_is_killed_loses_its_instance_to_another(
    storage: AsyncStorage, dsn: str, table: Table
) -> None:
    await storage.insert(Instance("x", "Order"))
    async with worker(dsn, storage.schema, 2) as process:
        assert await said(process) == "owns x"
        process.kill()
    async with storage.runner(workflows=["Order"], lease=2) as runner, within(2 + 2):
        assert await next_id(runner) == "x"
    assert (await table.row("x"))["attempts"] == 1


async def test_a_process_that_is_frozen_past_its_lease_writes_nothing_any_more(
    storage: AsyncStorage, dsn: str
) -> None:
    await storage.insert(Instance("x", "Order"))
    async with (
        worker(dsn, storage.schema, 1.5) as process,
        storage.runner(workflows=["Order"], lease=60, retry_after=lambda _: 0.0) as runner,
    ):
        assert await said(process) == "owns x"
        process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(30):
            claim = await anext(runner.claims())
        async with claim as held:
            process.send_signal(signal.SIGCONT)
            assert await said(process) == "cancelled"
            assert await said(process) == "StaleInstanceError"
            assert await said(process) == "ClaimLostError"
            await storage.update(replace(held, status=Status.COMPLETED))
    read = await storage.get("x")
    assert read is not None
    assert read.status is Status.COMPLETED


async def test_sigterm_stops_a_process_gracefully(
    storage: AsyncStorage, dsn: str, table: Table
) -> None:
    await storage.insert(Instance("x", "Order"))
    async with worker(dsn, storage.schema, 60) as process:
        assert await said(process) == "owns x"
        process.terminate()
        assert await said(process) == "cancelled"
        assert process.stdin is not None
        process.stdin.close()  # the thread that reads it
        assert await said(process) == "stopped"
    row = await table.row("x")
    assert (row["runner"], row["attempts"]) == (None, 0)


async def test_a_zombies_update_is_refused_whatever_its_clock_says(
    storage: AsyncStorage, start: Start, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await start()
    await storage.insert(Instance("x", "Order"))
    async with storage.runner(workflows=["Order"], lease=60) as zombie:
        with pytest.raises(ClaimLostError):
            async with await anext(zombie.claims()) as mine:
                await table.expire(zombie.token)
                async with (
                    other.runner(workflows=["Order"], retry_after=lambda _: 0.0) as runner,
                    await anext(runner.claims()) as theirs,
                ):
                    with pytest.raises(StaleInstanceError):
                        await storage.update(replace(mine, status=Status.FAILED))
                    await other.update(replace(theirs, status=Status.COMPLETED))
                await asyncio.sleep(60)
