from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest

from hephaestus_pg import (
    AccessDeniedError,
    CorruptInstanceError,
    Instance,
    OperationTimeoutError,
    Status,
    UnavailableError,
)
from hephaestus_pg.watch import watchers
from hephaestus_pg.watch.news import News
from hephaestus_pg.watch.watchers import Watcher
from tests.support.catalog import WAIT_SECONDS
from tests.support.lag import happens
from tests.watch.conftest import has_looked

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage
    from tests.support.faults import Faults, FaultsOf
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]


def slow() -> OperationTimeoutError:
    return OperationTimeoutError("slow", applied="no", retryable=True)


def at(revision: int, id: str = "a") -> Any:
    return {"id": id, "revision": str(revision)}


def watching(*ids: str) -> Watcher:
    return Watcher(ids, decode=lambda row: row)  # type: ignore[arg-type,return-value]


@pytest.mark.quick
async def test_one_is_given_the_newest_and_never_an_older() -> None:
    watcher = watching("a", "b")
    for row in (at(1), at(3), at(2), at(1, "b")):
        watcher.offer(row)
    assert [await watcher.next(), await watcher.next()] == [at(3), at(1, "b")]
    watcher.offer(at(2))
    watcher.offer(at(4))
    assert await watcher.next() == at(4)


@pytest.mark.quick
async def test_what_was_there_before_an_error_is_given_before_it() -> None:
    watcher = watching("a")
    watcher.offer(at(1))
    watcher.fail(slow())
    assert await watcher.next() == at(1)
    with pytest.raises(OperationTimeoutError):
        await watcher.next()


async def test_what_one_changes_in_its_instance_no_other_sees(storage: AsyncStorage) -> None:
    one, other = (
        asyncio.create_task(storage.wait("a", until=Status.PENDING, timeout=WAIT_SECONDS))
        for _ in range(2)
    )
    await has_looked(storage)
    await storage.put(Instance.new("Order", {"items": [1]}, id="a"))
    (await one).context.initial["items"].append(2)
    assert (await other).context.initial == {"items": [1]}


async def test_one_row_that_cannot_be_read_fails_those_who_wait_for_it(
    storage: AsyncStorage, pool: Pool
) -> None:
    await storage.put_many([Instance(id, "Order") for id in ("broken", "whole")])
    table = f"{storage.schema}.workflow_instances"
    await pool.execute(f"UPDATE {table} SET state = '[]' WHERE id = 'broken'")
    with storage._watchers.watching(["broken", "whole"]) as both:
        with pytest.raises(CorruptInstanceError, match="broken"):
            await both.next()
        assert (await both.next()).id == "whole"
    with storage._watchers.watching(["whole"]) as one:
        assert (await one.next()).id == "whole"


async def test_a_look_that_fails_comes_again(
    storage: AsyncStorage, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "LOOK_SECONDS", 0.05)
    await storage.put(Instance("a", "Order", status=Status.COMPLETED))
    faults.refuse("changed", error=UnavailableError("down", applied="no", retryable=True), times=2)
    assert (await storage.wait("a")).id == "a"


async def test_all_are_looked_at_however_often_one_of_them_is_told_of(
    storage: AsyncStorage, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(storage, "_can_listen", False)  # else it looks when it begins to
    await storage.put_many([Instance(id, "Order") for id in ("told", "silent")])
    waiting = asyncio.create_task(storage.wait("silent"))
    table = f"{storage.schema}.workflow_instances"
    with storage._watchers.watching(["told"]):
        await happens(lambda: storage._watchers.looks)
        await pool.execute(f"UPDATE {table} SET status = 'failed' WHERE id = 'silent'")

        def told() -> bool:
            storage._watchers.hear(News({"told"}))
            return waiting.done()

        await happens(told)


async def test_one_who_comes_while_a_look_is_under_way_is_given_nothing_from_before(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_can_listen", False)
    await storage.put(Instance("a", "Order", status=Status.COMPLETED))
    read, goes_on = asyncio.Event(), asyncio.Event()
    real = storage._pool_executor.fetch

    async def fetch(*arguments: Any, **options: Any) -> list[asyncpg.Record]:
        rows = await real(*arguments, **options)
        read.set()
        await goes_on.wait()
        return rows

    monkeypatch.setattr(storage._pool_executor, "fetch", fetch)
    early = asyncio.create_task(storage.wait("a"))
    await read.wait()
    again = await storage.insert(Instance("a", "Order"), replace_finished=True)
    late = asyncio.create_task(storage.wait("a", until=list(Status)))
    await asyncio.sleep(0)
    goes_on.set()
    assert await late == again
    early.cancel()


async def test_one_who_comes_later_is_given_what_others_have_seen(storage: AsyncStorage) -> None:
    stored = await storage.put(Instance("a", "Order"))
    with storage._watchers.watching(["a"]) as early:
        assert await early.next() == stored
        with storage._watchers.watching(["a"]) as late:
            assert await late.next() == stored


async def test_an_error_of_the_users_own_code_is_raised_by_all(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_can_listen", False)
    await storage.put(Instance("a", "Order"))
    error = ZeroDivisionError("in a codec of the user's")
    monkeypatch.setattr(storage._executor, "fetch", AsyncMock(side_effect=error))
    waits = [asyncio.create_task(storage.wait(id, timeout=WAIT_SECONDS)) for id in ("a", "b")]
    await asyncio.wait(waits)
    assert [task.exception() for task in waits] == [error, error]


async def test_one_that_hangs_is_given_up_soon_however_many_failed_before(
    start: Start, other: AsyncStorage, monkeypatch: pytest.MonkeyPatch, faults_of: FaultsOf
) -> None:
    monkeypatch.setattr(watchers, "ANSWER_SECONDS", 0.05)
    stored = await other.put(Instance("a", "Order"))
    async with start(name="patient", timeout=3600) as storage:
        faults = faults_of(storage)

        async def hang_once() -> None:
            if faults.sent.count("changed") == 13:
                await asyncio.Event().wait()

        faults.refuse("changed", error=slow(), times=12)
        faults.before("changed", hang_once)
        with storage._watchers.watching(["a"]) as watcher:
            async with asyncio.timeout(WAIT_SECONDS):
                assert await watcher.next() == stored
        assert faults.sent.count("changed") > 13


async def test_one_that_is_too_slow_is_divided_and_grows_again(
    storage: AsyncStorage, faults: Faults
) -> None:
    stored = await storage.put_many([Instance(str(n), "Order") for n in range(1000)])
    faults.refuse("changed", error=slow(), times=2)
    with storage._watchers.watching([each.id for each in stored]) as watcher:
        assert {(await watcher.next()).id for _ in stored} == {each.id for each in stored}
    assert faults.rows[-3:] == [250, 500, 250]


async def test_one_that_is_refused_is_raised_by_all(storage: AsyncStorage, faults: Faults) -> None:
    refused = AccessDeniedError("no right", applied="no", retryable=False)
    faults.refuse("changed", error=refused)
    waits = [asyncio.create_task(storage.wait(id)) for id in ("a", "b")]
    await asyncio.wait(waits)
    errors = [task.exception() for task in waits]
    assert [repr(error) for error in errors] == [repr(refused)] * 2
    assert errors[0] is not errors[1]  # each has a traceback of its own


async def test_many_ids_are_looked_at_in_chunks(
    storage: AsyncStorage, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "CHUNK_IDS", 2)
    monkeypatch.setattr(storage._watchers, "_chunk_ids", 2)
    stored = await storage.put_many([Instance(str(n), "Order") for n in range(5)])
    with storage._watchers.watching([each.id for each in stored]) as watcher:
        assert {(await watcher.next()).id for _ in stored} == {each.id for each in stored}
    assert faults.sent.count("changed") == 3


@pytest.mark.parametrize("rounds", range(4))
async def test_one_who_comes_while_the_last_leaves_has_a_look_at_once(
    storage: AsyncStorage, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    """In whichever round of the loop."""
    monkeypatch.setattr(watchers, "LOOK_SECONDS", 3600.0)
    await storage.put_many([Instance(id, "Order") for id in ("a", "b")])
    with storage._watchers.watching(["a"]) as one:
        await one.next()
        await has_looked(storage)
        for _ in range(5):
            await asyncio.sleep(0)  # it waits to be woken up
    for _ in range(rounds):
        await asyncio.sleep(0)
    with storage._watchers.watching(["b"]) as another:
        async with asyncio.timeout(10):
            assert (await another.next()).id == "b"


async def test_nobody_looks_when_nobody_waits(storage: AsyncStorage) -> None:
    tasks = asyncio.all_tasks()
    with storage._watchers.watching(["a"]):
        assert len(storage._watchers) == 1
    await happens(lambda: asyncio.all_tasks() == tasks)
    assert len(storage._watchers) == 0
