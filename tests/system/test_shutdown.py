"""Programs that end by cancelling every task, or by an exception at any moment."""

from __future__ import annotations

import asyncio
import random
import sys
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    DatabaseError,
    Instance,
    OperationInterruptedError,
    UnavailableError,
)
from hephaestus_pg.batching import batcher
from hephaestus_pg.batching.queue import RequestQueue
from hephaestus_pg.driver.happy_eyeballs import first_to_connect
from hephaestus_pg.execution.kept import KeptConnections
from hephaestus_pg.execution.pool_runner import Tries
from tests.support.lag import happens

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.starting import Start

IDS = [f"order::{n}" for n in range(40)]


def order(id: str) -> Instance:
    return Instance.new("Order", {}, id=id)


@pytest.fixture(params=(None, lambda: 0, False), ids=("batched", "keyed", "single"))
async def small(request: pytest.FixtureRequest, start: Start) -> Any:
    """A storage of two connections."""
    options: dict[str, Any] = (
        {"batching": False} if request.param is False else {"batch_by": request.param}
    )
    async with start(max_size=2, timeout=20, **options) as storage:
        yield storage


def others(but: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - but - {asyncio.current_task()}


async def assert_all_works(storage: AsyncStorage) -> None:
    """Every id can be written, every connection used, and nothing is held."""
    await asyncio.gather(*[storage.put(order(id)) for id in IDS])
    async with storage.transaction(), storage.transaction():
        pass
    while not storage.process_stats().is_idle:
        await asyncio.sleep(0)  # a worker that is answered still gives its connection back


async def called(storage: AsyncStorage, id: str) -> object:
    """What a call comes to; a cancellation that nobody asked for is an error."""
    try:
        match random.randrange(4):
            case 0:
                return await storage.get(id)
            case 1:
                return await storage.put(order(id))
            case 2:
                return await storage.delete(id)
            case _:
                return await storage.insert(order(id))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling()
        raise
    except Exception as error:  # noqa: BLE001 - looked at by the test
        return error


async def test_after_cancelling_every_task_each_call_works(small: AsyncStorage) -> None:
    """The recipe of many programs, from a handler that goes on to save something."""
    before = asyncio.all_tasks()
    for n in range(30):
        calls = [asyncio.create_task(called(small, random.choice(IDS))) for _ in range(80)]
        for _ in range(n):
            await asyncio.sleep(0)
        for task in others(before):
            task.cancel()
        await assert_all_works(small)
        await asyncio.gather(*calls, return_exceptions=True)
    await assert_all_works(small)


async def test_tasks_that_are_not_the_callers_may_be_cancelled(small: AsyncStorage) -> None:
    """Callers go on, and each has an answer: none is cancelled without having been asked to."""
    before = asyncio.all_tasks()
    answers: list[Any] = []
    for n in range(30):
        calls = [asyncio.create_task(called(small, random.choice(IDS))) for _ in range(80)]
        for _ in range(n):
            await asyncio.sleep(0)
        for task in others(before | set(calls)):
            task.cancel()
        answers += await asyncio.gather(*calls)
        await assert_all_works(small)
    allowed = (OperationInterruptedError, Instance, bool, type(None), DatabaseError)
    assert not [
        each
        for each in answers
        if not isinstance(each, (*allowed, LookupError))
        and type(each).__name__ != "InstanceExistsError"
    ]


async def test_a_worker_that_never_began_is_cleared_up_behind(small: AsyncStorage) -> None:
    if not small.process_stats().batch_sizes:
        pytest.skip("without workers")
    before = asyncio.all_tasks()
    calls = [asyncio.create_task(small.put(order(id))) for id in IDS]
    await asyncio.sleep(0)  # the first goes out, the others gather, and workers are made
    workers = others(before | set(calls))
    assert workers
    for worker in workers:
        worker.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, (Instance, DatabaseError)) for each in answers), answers
    await assert_all_works(small)


class Interrupt(BaseException):
    """What a signal handler of the user's raises, wherever the program happens to be."""


PLACES: dict[str, tuple[Any, str]] = {
    "a worker that takes its batch": (RequestQueue, "next_batch"),
    "a worker that sends": (batcher, "send"),
    "a statement that begins": (Tries, "run_once"),
    "a connection that is taken": (KeptConnections, "try_acquire"),
    "a connection that is waited for": (KeptConnections, "acquire"),
    "a connection that is given back": (KeptConnections, "try_release"),
    "a connection that is used": (asyncpg.Connection, "fetch"),
}


@pytest.mark.parametrize(
    "error", (Interrupt, asyncio.CancelledError, KeyError), ids=lambda e: e.__name__
)
@pytest.mark.parametrize("place", PLACES)
async def test_an_exception_at_any_place_leaves_nothing_held(
    start: Start, monkeypatch: pytest.MonkeyPatch, place: str, error: type[BaseException]
) -> None:
    cls, name = PLACES[place]
    real: Callable[..., Any] = getattr(cls, name)
    armed = False

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal armed
        if armed:
            armed = False
            raise error
        return real(*arguments, **options)

    async with start(max_size=2, timeout=20) as storage:
        await storage.put(order(IDS[0]))
        monkeypatch.setattr(cls, name, interrupted)
        calls = [asyncio.create_task(storage.put(order(id))) for id in IDS]
        await asyncio.sleep(0)  # now the first is under way, and the others are queued
        armed = True
        await asyncio.wait(calls)
        assert not armed, "nobody came by"
        for call in calls:
            assert not call.cancelled()
            own = (error,) if call is calls[0] else ()  # the first gives its connection back itself
            assert call.exception() is None or isinstance(call.exception(), (DatabaseError, *own))
        await assert_all_works(storage)


async def test_a_task_factory_of_the_old_kind_changes_nothing(small: AsyncStorage) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(lambda loop, coroutine: asyncio.Task(coroutine, loop=loop))
    try:
        await assert_all_works(small)
    finally:
        loop.set_task_factory(None)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks before 3.12")
async def test_tasks_that_begin_at_once_change_nothing(small: AsyncStorage) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - 3.11 has none
    try:
        await assert_all_works(small)
    finally:
        loop.set_task_factory(None)


async def test_a_task_factory_that_fails_holds_nothing(small: AsyncStorage) -> None:
    loop = asyncio.get_running_loop()
    calls = [asyncio.create_task(small.put(order(id))) for id in IDS]

    def broken(loop: object, coroutine: Any, **options: Any) -> Any:
        coroutine.close()
        raise RuntimeError

    loop.set_task_factory(broken)
    try:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    finally:
        loop.set_task_factory(None)
    await asyncio.gather(*calls, return_exceptions=True)
    await assert_all_works(small)


async def test_a_release_whose_task_is_cancelled_before_it_begins_gives_the_connection_back(
    start: Start,
) -> None:
    async with start(max_size=1, timeout=20) as storage:
        before = asyncio.all_tasks()
        for n in range(15):
            call = asyncio.create_task(storage.put(order("order::1")))
            for _ in range(n):
                await asyncio.sleep(0)
                for task in others(before | {call}):
                    task.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert (await storage.put(order("order::1"))).revision


async def test_tries_of_several_hosts_that_are_cancelled_are_no_connection() -> None:
    before = asyncio.all_tasks()
    tried: list[int] = []

    async def silent() -> None:
        tried.append(1)
        await asyncio.Event().wait()

    call = asyncio.create_task(first_to_connect([silent, silent], discard=lambda _: None))
    await happens(lambda: len(tried) == 2)
    for task in others(before | {call}):
        task.cancel()
    with pytest.raises(UnavailableError) as caught:
        await call
    assert (caught.value.applied, caught.value.retryable) == ("no", True)


async def test_a_storage_closes_while_every_task_is_cancelled(start: Start) -> None:
    async with start(max_size=2, timeout=20) as storage:
        before = asyncio.all_tasks()
        calls = [asyncio.create_task(called(storage, id)) for id in IDS]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task in others(before):
            task.cancel()
        await storage.close()
        await asyncio.gather(*calls, return_exceptions=True)
