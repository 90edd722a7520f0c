"""A runner's life: what it takes, its stop, and its end with its loop and with its process."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    AccessDeniedError,
    ClaimLostError,
    ConnectionLostError,
    HephaestusError,
    Instance,
    InstanceExistsError,
    InvalidValueError,
    StaleInstanceError,
    Status,
    WrongEventLoopError,
)
from tests.runners.conftest import next_claim, order
from tests.runners.processes import said, worker
from tests.support.lag import happens, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus_pg import AsyncStorage
    from tests.runners.conftest import Table
    from tests.support.faults import Faults, FaultsOf
    from tests.support.starting import Start


async def test_another_loop_is_named(start: Start) -> None:
    storage = await start()
    runner = await storage.runner(workflows=["Order"])

    async def elsewhere() -> None:
        for call in (
            runner.claim("x"),
            runner.insert(Instance("x", "Order")),
            runner.stop(),
            anext(runner.claims()),
            storage.runner(workflows=["Order"]),
        ):
            with pytest.raises(WrongEventLoopError):
                await call

    await asyncio.to_thread(asyncio.run, elsewhere())
    assert await runner.claim("x") is None
    await storage.close()


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


async def test_an_insert_that_another_runner_beat_is_in_doubt(
    storage: AsyncStorage, faults: Faults
) -> None:
    async with (
        storage.runner(workflows=["Order"]) as first,
        storage.runner(workflows=["Order"]) as second,
    ):
        await first.insert(order("x"))
        faults.break_connection("insert")
        with pytest.raises(ConnectionLostError) as caught:
            await second.insert(order("x"))  # an equal one, and not its own
        assert caught.value.applied == "unknown"


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


async def test_what_somebody_has_locked_keeps_a_stop_from_nothing_else(
    storage: AsyncStorage, table: Table, faults: Faults
) -> None:
    runner = await storage.runner(workflows=["Order"])
    for id in ("a", "b", "c"):
        await runner.insert(order(id))
    async with storage.transaction() as theirs:
        await theirs.put(order("b"))
        stopping = asyncio.create_task(runner.stop())
        await happens(lambda: "end_runner" in faults.sent)
        owners = {id: (await table.row(id))["runner"] for id in ("a", "b", "c")}
        assert owners == {"a": None, "b": runner.token, "c": None}
    await stopping
    assert (await table.row("b"))["runner"] is None
    assert await storage.runners() == []


async def test_a_body_that_makes_an_error_of_its_cancellation_has_not_failed(
    storage: AsyncStorage, table: Table
) -> None:
    runner = await storage.runner(workflows=["Order"])
    claim = await runner.insert(order("x"))

    async def work() -> None:
        async with claim:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ArithmeticError from None

    working = asyncio.create_task(work())
    await happens(lambda: claim.task)
    await runner.stop()
    with pytest.raises(ArithmeticError):
        await working
    row = await table.row("x")
    assert (row["runner"], row["attempts"], row["due"]) == (None, 0, None)


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
    faults.refuse("give_back", error=AccessDeniedError("not now", applied="no", retryable=False))

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


async def test_an_insert_that_outlives_its_runner_leaves_nothing_owned(
    storage: AsyncStorage, faults: Faults, table: Table
) -> None:
    runner = await storage.runner(workflows=["Order"])
    held = faults.delay("insert")
    inserting = asyncio.create_task(runner.insert(Instance("x", "Order")))
    await held.started.wait()
    await runner.stop()
    held.release()
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


async def test_a_stop_without_a_server_ends_too(
    start: Start, faults_of: FaultsOf, caplog: pytest.LogCaptureFixture
) -> None:
    storage = await start()
    faults = faults_of(storage)
    runner = await storage.runner(workflows=["Order"])
    faults.refuse("end_runner", error=AccessDeniedError("no", applied="no", retryable=False))
    await runner.stop()
    assert "could not give back" in caplog.text


async def test_what_a_dead_one_owned_is_taken_over_as_a_failed_attempt(
    storage: AsyncStorage, table: Table
) -> None:
    """An instance that stalls each of its runners to death is not tried for ever."""
    await storage.insert(Instance("x", "Order"))
    async with storage.runner(workflows=["Order"], lease=60) as dead:
        with pytest.raises(ClaimLostError, match="a test says so"):
            async with await next_claim(dead):
                dead._die("a test says so")
                await asyncio.sleep(60)
    assert (await table.row("x"))["runner"] == dead.token
    await table.expire(dead.token)
    async with storage.runner(workflows=["Order"], lease=60, retry_after=lambda _: 0.0) as runner:
        assert (await next_claim(runner)).id == "x"
        assert (await table.row("x"))["attempts"] == 1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_a_fork_has_no_runner(storage: AsyncStorage, table: Table) -> None:
    await storage.insert(Instance("x", "Order"))
    async with storage.runner(workflows=["Order"], lease=60) as runner:
        claim = await runner.claim("x")
        assert claim is not None
        calls: dict[str, Callable[[], Any]] = {
            "claim": lambda: runner.claim("x"),
            "insert": lambda: runner.insert(Instance("y", "Order")),
            "claims": lambda: anext(runner.claims()),
            "stop": runner.stop,
            "runner": lambda: storage.runner(workflows=["Order"]),
        }
        reader, writer = os.pipe()
        if not (child := os.fork()):
            try:
                for name, call in calls.items():
                    try:
                        call().__await__().send(None)
                    except HephaestusError as error:
                        os.write(writer, f"{name} {type(error).__name__}\n".encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once
        said = os.read(reader, 1000).decode().splitlines()
        os.close(reader)
        assert said == [f"{name} WrongEventLoopError" for name in calls]
        assert (await table.row("x"))["runner"] == runner.token
        async with claim as held:
            await storage.update(replace(held, status=Status.COMPLETED))


async def test_sigterm_stops_a_process_gracefully(
    storage: AsyncStorage, dsn: str, table: Table
) -> None:
    await storage.insert(Instance("x", "Order"))
    async with worker(dsn, storage.schema, 60) as process:
        assert await said(process) == "owns x"
        process.terminate()
        assert await said(process) == "cancelled"
        assert await said(process) == "written"  # it is still its own
        assert process.stdin is not None
        process.stdin.close()  # the thread that reads it
        assert await said(process) == "stopped"
    row = await table.row("x")
    assert (row["runner"], row["attempts"]) == (None, 0)


async def test_a_claim_that_nobody_entered_keeps_no_other_runner_from_its_instance(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hephaestus_pg.runners.claiming.POLL_SECONDS", 3600.0)
    await storage.insert(order("x"))
    async with storage.runner(workflows=["Order"]) as first:
        claim = await next_claim(first)
    with pytest.raises(ClaimLostError):
        async with claim:
            pass
    async with storage.runner(workflows=["Order"]) as second, await next_claim(second) as held:
        waiting = asyncio.create_task(next_claim(second))
        await happens(lambda: second._claiming._waiting)
        await storage.update(replace(held, status=Status.WAITING))
        await storage.modify("x", lambda it: replace(it, status=Status.RUNNING))
        assert (await waiting).id == "x"


async def test_a_stop_that_is_cancelled_ends_the_heartbeat(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hephaestus_pg.runners.runner.UNWIND_SECONDS", 3600.0)
    await storage.insert(order("x"))
    runner = await storage.runner(workflows=["Order"])
    entered, goes_on = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        async with await next_claim(runner):
            entered.set()
            while not goes_on.is_set():
                with suppress(asyncio.CancelledError):
                    await goes_on.wait()

    body = asyncio.create_task(stubborn())
    await entered.wait()
    stopping = asyncio.create_task(runner.stop())
    await happens(lambda: runner._stopping)
    assert runner._stopping is not None
    await asyncio.sleep(0)
    runner._stopping.cancel()  # as a program does that cancels every task
    await asyncio.wait({stopping})
    await happens(lambda: not runner._heartbeat._thread.is_alive())
    goes_on.set()
    await asyncio.wait({body})
