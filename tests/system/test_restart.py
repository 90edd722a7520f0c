"""A server that is restarted under load costs callers time, not errors, while their deadline lasts.

Every verb, by callers with ids of their own. Two of them may fail, and say so:

- a ``delete`` of a revision whose answer was lost, where the row is there, with ``applied`` at
  "unknown": the verb does not try to tell whether it is the row that was to be deleted.
- a ``transaction`` that had begun: only who began it can do it again.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    AsyncStorage,
    DatabaseError,
    Instance,
    Names,
    Status,
)
from tests.support.catalog import MOMENT, WAIT_SECONDS
from tests.support.lag import happens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from hephaestus_pg.embedded import EmbeddedServer

    Work = Callable[[AsyncStorage, str, int], Awaitable[None]]

CALLERS = 3
"""Callers of each verb."""

LATER = datetime.now(UTC) + timedelta(days=1)
IN_DOUBT = "ConnectionLostError, applied unknown"


def new(id: str, **fields: Any) -> Instance:
    return replace(Instance.new("W", {}, id=id), **fields)


async def get(storage: AsyncStorage, id: str, number: int) -> None:
    assert await storage.get(id) is None


async def put(storage: AsyncStorage, id: str, number: int) -> None:
    stored = await storage.put(new(id, current_step=str(number)))
    assert stored.current_step == str(number)


async def insert(storage: AsyncStorage, id: str, number: int) -> None:
    inserted = await storage.insert(new(f"{id}::{number}"))
    assert (inserted.revision or 0) > MOMENT


async def update(storage: AsyncStorage, id: str, number: int) -> None:
    held = await storage.insert(new(id)) if number == 0 else await storage.get(id)
    assert held is not None
    updated = await storage.update(replace(held, current_step=str(number)))
    assert updated.revision == (held.revision or 0) + 1


async def delete(storage: AsyncStorage, id: str, number: int) -> None:
    await storage.put(new(id))
    assert await storage.delete(id) is True


async def delete_at(storage: AsyncStorage, id: str, number: int) -> None:
    held = await storage.insert(new(f"{id}::{number}"))
    assert await storage.delete(held.id, revision=held.revision) is True


async def query(storage: AsyncStorage, id: str, number: int) -> None:
    await storage.query(status="running", limit=10)


async def stream(storage: AsyncStorage, id: str, number: int) -> None:
    assert [each async for each in storage.stream(id=id)] == []


async def counted(storage: AsyncStorage, id: str, number: int) -> None:
    assert await storage.count(id=id) == 0


async def put_many(storage: AsyncStorage, id: str, number: int) -> None:
    assert len(await storage.put_many([new(id), new(f"{id}::2")])) == 2


async def get_many(storage: AsyncStorage, id: str, number: int) -> None:
    assert await storage.get_many([id, f"{id}::2"]) == {}


async def delete_many(storage: AsyncStorage, id: str, number: int) -> None:
    await storage.put(new(id))
    assert await storage.delete_many([id, f"{id}::2"]) == {id}


async def prune(storage: AsyncStorage, id: str, number: int) -> None:
    await storage.put(new(id, status=Status.COMPLETED))
    await storage.prune(finished_before=LATER)


class Begun(Exception):  # noqa: N818 - it says where another happened
    """The transaction's block had been entered."""


async def transaction(storage: AsyncStorage, id: str, number: int) -> None:
    begun = False
    try:
        async with storage.transaction() as transaction:
            begun = True
            await transaction.put(new(id))
    except DatabaseError as error:
        if begun:
            raise Begun from error
        raise


VERBS: tuple[Work, ...] = (
    *(get, put, insert, update, delete, delete_at, query, stream, counted),
    *(put_many, get_many, delete_many, prune, transaction),
)
POSSIBLE = defaultdict(
    lambda: {"ok"},
    delete_at={"ok", IN_DOUBT},
    transaction={"ok", "begun"},
)


@pytest.fixture(params=(True, False), ids=("batching", "plain"))
async def storage(
    request: pytest.FixtureRequest, own_server: EmbeddedServer
) -> AsyncIterator[AsyncStorage]:
    own_server.start()
    async with AsyncStorage.start(
        own_server.dsn, references=Names(), batching=request.param, max_size=5, timeout=WAIT_SECONDS
    ) as storage:
        yield storage
        await storage.delete_many([row.id async for row in storage.stream()])


class Load:
    """Callers of each verb, and how their calls ended."""

    def __init__(self, storage: AsyncStorage) -> None:
        self._storage = storage
        self.ended: dict[str, Counter[str]] = {verb.__name__: Counter() for verb in VERBS}
        self.stopped = False

    async def live(self, verb: Work, caller: int) -> None:
        ended = self.ended[verb.__name__]
        for number in count():
            if self.stopped:
                return
            try:
                await verb(self._storage, f"{verb.__name__}::{caller}", number)
            except Begun:
                ended["begun"] += 1
            except DatabaseError as error:
                ended[f"{type(error).__name__}, applied {error.applied}"] += 1
            else:
                ended["ok"] += 1

    async def goes_on(self) -> None:
        """Wait until every verb was answered some times more."""
        before = {verb: ended.total() for verb, ended in self.ended.items()}
        await happens(
            lambda: all(
                self.ended[verb].total() >= count + 2 * CALLERS for verb, count in before.items()
            )
        )


@pytest.mark.parametrize("way", ("fast", "immediate", "kill"))
async def test_every_call_ends_well(
    own_server: EmbeddedServer, storage: AsyncStorage, way: Any, caplog: pytest.LogCaptureFixture
) -> None:
    load = Load(storage)
    async with asyncio.TaskGroup() as group:
        for verb in VERBS:
            for caller in range(CALLERS):
                group.create_task(load.live(verb, caller))
        await load.goes_on()
        if way == "kill":
            await asyncio.to_thread(own_server.kill)
        else:
            await asyncio.to_thread(own_server.stop, way)
        await asyncio.to_thread(own_server.start)
        await load.goes_on()
        load.stopped = True

    print({name: dict(ended) for name, ended in load.ended.items()})
    for name, ended in load.ended.items():
        assert set(ended) <= POSSIBLE[name], name
    # It was noticed: calls were under way, and were made again.
    assert "is tried again" in caplog.text


async def test_a_transaction_begins_when_the_server_is_back(
    own_server: EmbeddedServer, storage: AsyncStorage
) -> None:
    await asyncio.to_thread(own_server.stop)
    begin = asyncio.create_task(transaction(storage, "x", 0))
    await asyncio.wait([begin], timeout=0.2)
    await asyncio.to_thread(own_server.start)

    await begin

    assert await storage.count(id="x") == 1
