"""Callers that give up at random moments: nothing leaks, and nobody gets what was another's.

3,000 cancels, and 100,000 with ``pytest tests/system/test_cancels.py -m long --timeout 0``.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    Context,
    Instance,
    InstanceError,
)
from tests.support.catalog import WAIT_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.starting import Start

CALLERS = 40
POOL = 5


class Caller:
    """Calls on ids that are its own, and checks that each answer is its own too."""

    def __init__(self, storage: AsyncStorage, number: int, chance: random.Random) -> None:
        self._storage = storage
        self._ids = [f"x::{number}::{n}" for n in range(3)]
        self._number = number
        self._chance = chance
        self._counted = count()
        self.answered = 0

    async def call(self) -> None:
        verbs: list[Callable[[Instance], Awaitable[None]]] = [
            self._put, self._put, self._get, self._get, self._change, self._delete,
            self._put_many, self._query, self._transaction,
        ]  # fmt: skip
        await self._chance.choice(verbs)(self._new())
        self.answered += 1

    def _new(self) -> Instance:
        context = Context({"caller": self._number, "count": next(self._counted)})
        return Instance(self._chance.choice(self._ids), "Cancelled", context=context)

    def _check(self, got: Instance | None, *, wrote: Instance | None = None) -> None:
        if got is not None:
            assert got.id in self._ids
            assert got.context.initial["caller"] == self._number
        if wrote is not None:
            assert got == wrote

    async def _put(self, new: Instance) -> None:
        self._check(await self._storage.put(new), wrote=new)

    async def _get(self, new: Instance) -> None:
        self._check(await self._storage.get(new.id))

    async def _change(self, new: Instance) -> None:
        held = await self._storage.get(new.id)
        self._check(held)
        try:
            if held is None:
                self._check(await self._storage.insert(new), wrote=new)
            else:
                new = replace(new, revision=held.revision)
                self._check(await self._storage.update(new), wrote=new)
        except InstanceError:
            pass  # a call of its own that it gave up came in between

    async def _delete(self, new: Instance) -> None:
        assert await self._storage.delete(new.id) in (True, False)

    async def _put_many(self, new: Instance) -> None:
        wanted = [replace(new, id=id) for id in self._ids]
        for got, wrote in zip(await self._storage.put_many(wanted), wanted, strict=True):
            self._check(got, wrote=wrote)

    async def _query(self, new: Instance) -> None:
        for got in await self._storage.query(id=new.id):
            self._check(got)

    async def _transaction(self, new: Instance) -> None:
        async with self._storage.transaction() as transaction:
            self._check(await transaction.put(new), wrote=new)
            self._check(await transaction.get(new.id), wrote=new)


async def cancel(storage: AsyncStorage, cancels: int, seed: int) -> tuple[int, int]:
    """Have half of the callers give up; how many calls were answered, and how many given up.

    Beside each twenty that are given up, one at least is answered.
    """
    chance = random.Random(seed)
    callers = [Caller(storage, number, random.Random(seed + number)) for number in range(CALLERS)]
    given_up = 0

    def answered() -> int:
        return sum(caller.answered for caller in callers)

    def goes_on() -> bool:
        return given_up < cancels or answered() < cancels / 20

    async def wait(caller: Caller) -> None:
        while goes_on():
            await caller.call()

    async def give_up(caller: Caller) -> None:
        nonlocal given_up
        while goes_on():
            task = asyncio.create_task(caller.call())
            await asyncio.sleep(chance.choice((0, 0.002, 0.02, 0.05)) * chance.random())
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                given_up += 1

    async with asyncio.TaskGroup() as group:
        for waiting, hasty in zip(callers[::2], callers[1::2], strict=True):
            group.create_task(wait(waiting))
            group.create_task(give_up(hasty))
    return answered(), given_up


async def assert_whole(storage: AsyncStorage, dsn: str) -> None:
    """Every slot gets free, no transaction stays open, and the batcher holds nothing."""
    async with asyncio.timeout(WAIT_SECONDS), AsyncExitStack() as stack:
        for _ in range(POOL):
            await stack.enter_async_context(storage.transaction())
    link: asyncpg.Connection[Any] = await asyncpg.connect(dsn)
    await until(
        link,
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
        " AND backend_type = 'client backend'",  # autovacuum has transactions too
    )
    await link.close()
    assert storage.process_stats().is_idle


@pytest.mark.parametrize("batching", (True, False))
@pytest.mark.parametrize("cancels", (1500, pytest.param(50_000, marks=pytest.mark.long)))
async def test_cancels_leave_nothing_behind_and_neighbours_alone(
    dsn: str, start: Start, cancels: int, *, batching: bool
) -> None:
    async with start(batching=batching, max_size=POOL) as storage:
        answered, given_up = await cancel(storage, cancels, seed=20261122)
        print(f"{answered} answered, {given_up} given up")
        await assert_whole(storage, dsn)
        # What it is asked now is answered as ever.
        new = Instance.new("W", {}, id="after")
        assert await storage.put(new) == await storage.get("after") == new


async def test_no_call_keeps_a_cancellation_to_itself(storage: AsyncStorage) -> None:
    """temporalio/sdk-python#620: it met a call that was just answered, and the loop went on."""
    held = await storage.put(Instance.new("W", {}, id="held"))

    async def transaction() -> None:
        async with storage.transaction() as tx:
            await tx.put(held)

    async def stream() -> None:
        assert [each.id async for each in storage.stream()] == ["held"]

    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: storage.put(held),
        lambda: storage.get("held"),
        lambda: storage.put_many([held]),
        lambda: storage.modify("held", lambda it: it),
        lambda: storage.wait("held", until=held.status),
        transaction,
        stream,
    ]

    async def again_and_again(call: Callable[[], Awaitable[object]]) -> None:
        while True:
            await call()

    for call in calls:
        for steps in range(40):
            task = asyncio.create_task(again_and_again(call))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task}, timeout=WAIT_SECONDS)
            assert task.cancelled()


async def test_a_transaction_given_up_as_it_begins_is_no_news(
    storage: AsyncStorage, caplog: pytest.LogCaptureFixture
) -> None:
    async def begin() -> None:
        async with storage.transaction():
            await asyncio.Event().wait()

    for steps in range(30):
        task = asyncio.create_task(begin())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await storage.count() == 0
    assert caplog.text == ""
