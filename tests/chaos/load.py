"""Hundreds of callers in a process of its own, each with its own deadlines, who tell what they saw.

``python -m tests.chaos.load DSN SCHEMA SEED CALLERS BATCHING``. Each call that ended is a line of
JSON on standard output, after an empty object when it begins. ``rest`` on standard input lets the
calls end, looks whether anything is left of them, and begins again; ``end`` ends it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg import (
    AsyncStorage,
    Context,
    DatabaseError,
    Instance,
    InstanceError,
    Names,
    Status,
)
from hephaestus_pg.driver.errors import translated_errors
from tests.chaos.history import TOKENS, Call, Outcome
from tests.support.faults import pool_of
from tests.support.lag import Lag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Role = Callable[["Caller"], Awaitable[None]]

POOL = 8
SHARED = 12
"""Ids of each kind for which callers compete."""

DEADLINES = (0.5, 1.5, 4.0)
STORAGE_DEADLINE = 4.0
STATEMENTS = {
    "put_many": 4,
    "delete_many": 4,
    "prune": 4,
    "stream": 8,
    "using": 2,
    "transaction": 5,
    "antedate": 7,
}
"""What has a deadline for each of its steps, and how many those are: a slot, BEGIN, …, COMMIT."""

PAUSE = 0.2
"""Seconds between two turns of a caller, on average; fewer than fifty pause for less."""

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)

HANGING = 30.0
"""Seconds after which a call that is under way at rest never ends."""

SETTLING = 5.0
"""Seconds after which a task that is not a caller's stays."""


class Load:
    """What all callers share."""

    def __init__(self, storage: AsyncStorage, dsn: str, callers: int, lag: Lag) -> None:
        self.storage = storage
        self.dsn = dsn
        self.lag = lag
        self.going = asyncio.Event()
        self.going.set()
        self.ended = False
        self.under_way: dict[object, tuple[str, str, float, float]] = {}
        # How often a call on the id was of unknown outcome: its next generation is another id.
        self.generations: Counter[str] = Counter()
        self.callers = callers

    def shared(self, kind: str, number: int) -> str:
        id = f"{kind}::{number}"
        return f"{id}::{self.generations[id]}"

    def retire(self, id: str) -> None:
        stem, _, generation = id.rpartition("::")
        if self.generations[stem] == int(generation):
            self.generations[stem] += 1

    async def rest(self) -> dict[str, Any]:
        """Let all calls end; what is left of them, and when each slot was free to be taken.

        It is asked for when everything works again.
        """
        self.going.clear()
        healed = monotonic()
        left = [since + limit - healed for *_, since, limit in self.under_way.values()]
        freeing = asyncio.create_task(self._freed(healed))
        while self.under_way and monotonic() < healed + HANGING:
            await asyncio.sleep(0.01)
        hanging = [
            f"{verb} {id} {healed - since:.1f} s" for verb, id, since, _ in self.under_way.values()
        ]
        ended, lag = monotonic(), self.lag.total
        freed = await freeing
        pool: Any = pool_of(self.storage)
        while pool._queue.qsize() < POOL and monotonic() < ended + HANGING:
            await asyncio.sleep(0.005)
        seconds = monotonic() - ended - (self.lag.total - lag)
        free = 0
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(HANGING):
                    for _ in range(POOL):
                        await stack.enter_async_context(pool.acquire())
                        free += 1
            except (TimeoutError, OSError):
                for task in asyncio.all_tasks():
                    task.print_stack()  # on standard error: what holds them
            await self._settle()
            found = {
                "hanging": hanging,
                "free": free,
                "seconds": seconds,
                "freed": freed,
                "left": max([0.0, *left]),
                "tasks": len(asyncio.all_tasks()),
                "files": _files(),
                "kilobytes": _resident(),
                "lag": self.lag.total,
                "longest": self.lag.longest,
            }
        self.going.set()
        return found

    async def _freed(self, healed: float) -> float:
        """Seconds from healing until each slot was given back by who had it then.

        A call that waits for one gets it at once: where many do, no slot is ever seen idle.
        """
        pool: Any = pool_of(self.storage)
        lag = self.lag.total
        held = {holder: holder._in_use for holder in pool._holders}
        while held and monotonic() < healed + HANGING:
            for holder in pool._queue._queue:  # the idle ones
                held.pop(holder, None)
            held = {holder: use for holder, use in held.items() if holder._in_use is use}
            await asyncio.sleep(0.005)
        return monotonic() - healed - (self.lag.total - lag)

    async def _settle(self) -> None:
        """Let those tasks end in which the pool closes what it gave up."""
        until = monotonic() + SETTLING
        while len(asyncio.all_tasks()) > self.callers + 1 and monotonic() < until:
            await asyncio.sleep(0.005)


def _resident() -> int:
    """The memory of this process, where the system tells; else 0."""
    if sys.platform != "linux":
        return 0
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _files() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0


class Caller:
    """One of the callers: it calls again and again, and writes down how each call ended."""

    def __init__(self, load: Load, number: int, seed: int) -> None:
        self.load = load
        self.storage = load.storage
        self.number = number
        self.chance = random.Random(seed * 10_007 + number)
        self._token = (number + 1) * TOKENS

    async def live(self, *roles: Role) -> None:
        while not self.load.ended:
            await self.chance.choice(roles)(self)
            pause = PAUSE * min(1, self.load.callers / 50)
            await asyncio.sleep(self.chance.uniform(0, 2 * pause))

    def instance(self, id: str, status: Status = Status.RUNNING) -> tuple[int, Instance]:
        """A state that nobody wrote before, and its token."""
        self._token += 1
        padding = "x" * self.chance.choice((0, 100, 2000))
        context = Context({"token": self._token, "padding": padding})
        return self._token, Instance(id, "Chaos", status=status, context=context)

    async def call(
        self,
        verb: str,
        ids: list[str],
        work: Callable[[float], Awaitable[Any]],
        *,
        wrote: int | None = None,
        own: int | None = None,
        removed: bool = False,
    ) -> tuple[Outcome, Any]:
        """What became of ``work``, which takes its timeout, and what it gave.

        ``wrote`` is the token of what it writes, ``own`` that of the row, if it is this caller's
        alone: then nobody may have been faster. ``removed``: what it writes is that there is none.
        """
        await self.load.going.wait()
        timeout = self.chance.choice(DEADLINES)
        each = STORAGE_DEADLINE if verb in ("transaction", "antedate") else timeout
        limit = STATEMENTS.get(verb, 1) * each
        result, error = None, None
        began, lag = monotonic(), self.load.lag.total
        self.load.under_way[self] = (verb, ids[0], began, limit)
        outcome: Outcome = "ok"
        try:
            result = await work(timeout)
        except DatabaseError as failure:
            outcome, error = failure.applied, type(failure).__name__
        except InstanceError as failure:
            outcome, error = "no" if own is None else "fault", type(failure).__name__
        except Exception as failure:  # noqa: BLE001 - that there is any is what the history tells
            outcome, error = "fault", repr(failure)
        ended, lag = monotonic(), self.load.lag.total - lag
        del self.load.under_way[self]
        rows = {row.id: row for row in _rows(result)}
        # The first tells of the call, the others of what else it wrote or read.
        for number, id in enumerate(dict.fromkeys([*ids, *rows]) if outcome == "ok" else ids):
            row = rows.get(id)
            token = None if row is None else row.context.initial["token"]
            _tell(
                Call(
                    *("look" if number else verb, id, began, ended, limit, outcome, error, wrote),
                    seen=None if wrote is not None else token if own is None else own,
                    revision=None if row is None else row.revision,
                    found=result is True
                    or row is not None
                    or (isinstance(result, set) and id in result),
                    removed=removed,
                    lag=lag,
                )
            )
        return outcome, result


def _rows(result: Any) -> list[Instance]:
    match result:
        case Instance():
            return [result]
        case list():
            return result
        case dict():
            return list(result.values())
    return []


def _tell(call: Call) -> None:
    print(json.dumps(call))


async def put(caller: Caller) -> None:
    """Puts to an id of its own, and reads it."""
    id = f"put::{caller.number}"
    token, new = caller.instance(id)
    storage = caller.storage
    await caller.call("put", [id], lambda left: storage.put(new, timeout=left), wrote=token)
    await caller.call("get", [id], lambda left: storage.get(id, timeout=left))


async def pair(caller: Caller) -> None:
    """Puts to two ids of its own at once, and reads both: they never differ."""
    ids = [f"pair::{caller.number}::{half}" for half in "ab"]
    token, new = caller.instance(ids[0])
    both, storage = [new, replace(new, id=ids[1])], caller.storage
    await caller.call(
        "put_many", ids, lambda left: storage.put_many(both, timeout=left), wrote=token
    )
    _, found = await caller.call("get_many", ids, lambda left: storage.get_many(ids, timeout=left))
    if len({row.context.initial["token"] for row in _rows(found)}) > 1:
        _tell(Call("get_many", ids[0], 0, 0, 0, "fault", "one half of a put_many"))


async def chain(caller: Caller) -> None:
    """Reads a shared id and updates what it read."""
    id = f"chain::{caller.chance.randrange(SHARED)}"
    storage = caller.storage
    _, held = await caller.call("get", [id], lambda left: storage.get(id, timeout=left))
    token, new = caller.instance(id)
    if held is None:
        await caller.call(
            "insert", [id], lambda left: storage.insert(new, timeout=left), wrote=token
        )
        return
    new = replace(new, revision=held.revision)
    await caller.call("update", [id], lambda left: storage.update(new, timeout=left), wrote=token)


async def slot(caller: Caller) -> None:
    """Inserts a shared id, holds it for a moment, and deletes it again."""
    id = caller.load.shared("slot", caller.chance.randrange(SHARED))
    token, new = caller.instance(id)
    storage = caller.storage
    outcome, mine = await caller.call(
        "insert", [id], lambda left: storage.insert(new, timeout=left), wrote=token
    )
    if outcome == "ok":
        await caller.call("get", [id], lambda left: storage.get(id, timeout=left))
    while outcome == "ok":
        ended, _ = await caller.call(
            "delete",
            [id],
            lambda left: storage.delete(id, revision=mine.revision, timeout=left),
            own=token,
        )
        if ended != "no":
            outcome = ended
            break
    if outcome == "unknown":
        caller.load.retire(id)


async def job(caller: Caller) -> None:
    """Inserts a shared id once the one before has finished, and finishes it."""
    id = caller.load.shared("job", caller.chance.randrange(SHARED))
    token, new = caller.instance(id)
    storage = caller.storage
    outcome, mine = await caller.call(
        "insert",
        [id],
        lambda left: storage.insert(new, replace_finished=True, timeout=left),
        wrote=token,
    )
    while outcome == "ok":
        held, (token, done) = token, caller.instance(id, Status.COMPLETED)
        done = replace(done, revision=mine.revision)
        ended, _ = await caller.call(
            "update",
            [id],
            lambda left, done=done: storage.update(done, timeout=left),  # type: ignore[misc]
            wrote=token,
            own=held,
        )
        if ended != "no":
            outcome = ended
            break
    if outcome == "unknown":
        caller.load.retire(id)


async def brief(caller: Caller) -> None:
    """Puts to ids of its own, and deletes them, whatever revision they are at."""
    number, load, storage = caller.number, caller.load, caller.storage
    ids = [load.shared(f"brief::{number}", half) for half in range(2)]
    token, new = caller.instance(ids[0])
    if caller.chance.random() < 0.5:
        ids = ids[:1]
        await caller.call("put", ids, lambda left: storage.put(new, timeout=left), wrote=token)
    else:
        both = [new, replace(new, id=ids[1])]
        await caller.call(
            "put_many", ids, lambda left: storage.put_many(both, timeout=left), wrote=token
        )
    await caller.call("get_many", ids, lambda left: storage.get_many(ids, timeout=left))
    token, _ = caller.instance(ids[0])
    if len(ids) == 1:
        outcome, _ = await caller.call(
            "delete",
            ids,
            lambda left: storage.delete(ids[0], timeout=left),
            wrote=token,
            removed=True,
        )
    else:
        outcome, _ = await caller.call(
            "delete_many",
            ids,
            lambda left: storage.delete_many(ids, timeout=left),
            wrote=token,
            removed=True,
        )
    await caller.call("get_many", ids, lambda left: storage.get_many(ids, timeout=left))
    if outcome == "unknown":
        for id in ids:
            load.retire(id)


async def old(caller: Caller) -> None:
    """Puts two that seem old, one finished and one running, and prunes: which takes the first."""
    storage = caller.storage
    ids = [f"old::{caller.number}", f"put::old::{caller.number}"]
    token, new = caller.instance(ids[0], Status.COMPLETED)
    both = [new, replace(new, id=ids[1], status=Status.RUNNING)]
    await caller.call("antedate", ids, lambda _: _antedated(storage, both), wrote=token)
    await caller.call("get_many", ids, lambda left: storage.get_many(ids, timeout=left))
    await caller.call(
        "prune", ["prune"], lambda left: storage.prune(finished_before=LONG_AGO, timeout=left)
    )
    await caller.call("get_many", ids, lambda left: storage.get_many(ids, timeout=left))


async def tally(caller: Caller) -> None:
    """Counts in a shared id, in which all make the same of what they read."""
    id = f"tally::{caller.number % 4}"
    storage = caller.storage
    _, held = await caller.call("get", [id], lambda left: storage.get(id, timeout=left))
    if held is None:
        none = Instance(id, "Chaos", context=Context({"token": 0}))
        await caller.call("insert", [id], lambda left: storage.insert(none, timeout=left))
        return
    await caller.call("modify", [id], lambda left: storage.modify(id, _one_more, timeout=left))


def _one_more(held: Instance) -> Instance:
    return replace(held, context=Context({"token": held.context.initial["token"] + 1}))


async def using(caller: Caller) -> None:
    """Puts to an id of its own on a connection of its own, and reads it by the storage."""
    id = f"put::using::{caller.number}"
    token, new = caller.instance(id)
    load = caller.load
    await caller.call("using", [id], lambda left: _on_its_own(load, new, left), wrote=token)
    await caller.call("get", [id], lambda left: load.storage.get(id, timeout=left))


async def read(caller: Caller) -> None:
    """All the other ways to look at what is there."""
    storage, chance = caller.storage, caller.chance
    number = chance.randrange(caller.load.callers)
    brief = caller.load.shared(f"brief::{number}", 0)
    match chance.randrange(8):
        case 0:
            await caller.call(
                "query",
                ["query"],
                lambda left: storage.query(
                    workflow_family="Chaos", limit=20, order_by="updated_at", timeout=left
                ),
            )
        case 1:
            await caller.call("count", ["count"], lambda left: storage.count(timeout=left))
        case 2:
            await caller.call("stream", ["stream"], lambda left: _streamed(storage, left))
        case 3:
            # Its deadlines are the storage's.
            token, new = caller.instance(f"put::{caller.number}")
            await caller.call(
                "transaction", [new.id], lambda _: _in_transaction(storage, new), wrote=token
            )
        case 4:
            id = f"chain::{number % SHARED}"
            await caller.call("get", [id], lambda left: storage.get(id, timeout=left))
        case _:
            id = chance.choice((f"put::{number}", f"old::{number}", brief))
            await caller.call("get", [id], lambda left: storage.get(id, timeout=left))


async def _streamed(storage: AsyncStorage, timeout: float) -> list[Instance]:
    return [row async for row in storage.stream(workflow_family="Chaos", timeout=timeout)]


async def _in_transaction(storage: AsyncStorage, new: Instance) -> Instance:
    async with storage.transaction() as transaction:
        await transaction.get(new.id)
        return await transaction.put(new)


async def _antedated(storage: AsyncStorage, new: list[Instance]) -> list[Instance]:
    async with storage.transaction() as transaction:
        stored = await transaction.put_many(new)
        with translated_errors(connecting=True):  # it is not committed yet
            await transaction.connection.execute(
                f"UPDATE {storage.schema}.workflow_instances SET updated_at = '2000-01-01'"
                " WHERE id = ANY ($1::text[])",
                [each.id for each in new],
                timeout=STORAGE_DEADLINE,
            )
    return stored


async def _on_its_own(load: Load, new: Instance, timeout: float) -> Instance:
    with translated_errors(connecting=True):
        connection: asyncpg.Connection[Any] = await asyncpg.connect(load.dsn, timeout=timeout)
    try:
        return await load.storage.using(connection).put(new, timeout=timeout)
    finally:
        connection.terminate()


ROLES: tuple[Role, ...] = (
    *(put, put, pair, chain, chain, slot, slot, job, read),
    *(brief, old, using, tally),
)
"""What the first, the second, … of so many callers does; fewer do everything by turns."""


async def main(dsn: str, schema: str, *, seed: int, callers: int, batching: bool) -> None:
    async with (
        AsyncStorage.start(
            dsn,
            schema=schema,
            references=Names(),
            batching=batching,
            max_size=POOL,
            timeout=STORAGE_DEADLINE,
        ) as storage,
        Lag() as lag,
    ):
        print("{}", flush=True)
        load = Load(storage, dsn, callers, lag)
        tasks = [
            asyncio.create_task(
                Caller(load, number, seed).live(
                    *(ROLES if callers < len(ROLES) else ROLES[number % len(ROLES) :][:1])
                )
            )
            for number in range(callers)
        ]
        while await asyncio.to_thread(sys.stdin.readline) == "rest\n":
            print(json.dumps(await load.rest()), flush=True)
        load.ended = True
        load.going.set()
        await asyncio.gather(*tasks)


if __name__ == "__main__":
    _, where, which, number, many, together = sys.argv
    asyncio.run(main(where, which, seed=int(number), callers=int(many), batching=together == "on"))
