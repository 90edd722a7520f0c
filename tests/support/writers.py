"""A process that writes the same instances as others at the same time.

``python -m tests.support.writers ROLE DSN SCHEMA TASKS ROUNDS NUMBER``: it says that it is ready,
starts when a line comes in, and ends with what it did as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hephaestus_pg import (
    AsyncStorage,
    Context,
    Instance,
    InstanceExistsError,
    Names,
    StaleInstanceError,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

COUNTERS = ("counter::a", "counter::b", "counter::c")


async def insert(storage: AsyncStorage, tasks: int, rounds: int) -> Any:
    """Every task of every process inserts the same ids; the ids that this process won."""
    won: list[str] = []
    errors: Counter[str] = Counter()

    async def one(id: str, task: int) -> None:
        try:
            await storage.insert(Instance.new("Order", {"task": task}, id=id))
        except InstanceExistsError as error:
            errors[f"{error.id == id} {error.status} {error.workflow}"] += 1
        else:
            won.append(id)

    for number in range(rounds):
        await asyncio.gather(*(one(f"order::{number}", task) for task in range(tasks)))
    return {"won": won, "errors": errors}


async def restart(storage: AsyncStorage, tasks: int, rounds: int) -> Any:
    """As ``insert``, over finished rows; the revisions that this process won."""
    won: list[tuple[str, int | None]] = []

    async def one(id: str) -> None:
        instance = Instance("x", "Order", status=Status.RUNNING)
        try:
            stored = await storage.insert(replace(instance, id=id), replace_finished=True)
        except InstanceExistsError:
            return
        won.append((id, stored.revision))

    for number in range(rounds):
        await asyncio.gather(*(one(f"order::{number}") for _ in range(tasks)))
    return {"won": won}


async def update(storage: AsyncStorage, tasks: int, rounds: int) -> Any:
    """Each task appends to shared counters by compare-and-set; what was acknowledged, and not."""
    acknowledged: list[tuple[str, int | None, str]] = []
    refused: list[str] = []

    async def one(task: int) -> None:
        for number in range(rounds):
            id = COUNTERS[number % len(COUNTERS)]
            mark = f"{sys.argv[6]}.{task}.{number}"
            while True:
                held = await storage.get(id)
                assert held is not None
                marks = [*held.context.initial["marks"], mark]
                try:
                    stored = await storage.update(replace(held, context=Context({"marks": marks})))
                except StaleInstanceError:
                    refused.append(id)
                else:
                    acknowledged.append((id, stored.revision, mark))
                    break

    await asyncio.gather(*map(one, range(tasks)))
    return {"acknowledged": acknowledged, "refused": len(refused)}


async def cross(storage: AsyncStorage, tasks: int, rounds: int) -> Any:
    """Single writes of the same rows, batched in an order that is this process's own.

    Each verb in turn, for as many rounds; how many calls of each were answered.
    """
    ids = [f"row::{number:03}" for number in range(tasks)]
    if int(sys.argv[6]) % 2:
        ids.reverse()
    answered: Counter[str] = Counter()
    revisions: dict[str, int | None] = {}

    def finished(id: str) -> Instance:
        return Instance(id, "W", status=Status.COMPLETED, revision=revisions.get(id))

    async def put(id: str) -> None:
        revisions[id] = (await storage.put(finished(id))).revision

    async def insert(id: str) -> None:
        new = await storage.insert(finished(id), replace_finished=True)
        revisions[id] = new.revision

    async def update(id: str) -> None:
        try:
            revisions[id] = (await storage.update(finished(id))).revision
        except StaleInstanceError as error:  # it locked the row all the same
            revisions[id] = error.found

    async def delete(id: str) -> None:
        with suppress(StaleInstanceError):
            await storage.delete(id, revision=2**62)

    for verb in (put, insert, update, delete):
        for _ in range(rounds):
            await asyncio.gather(*map(verb, ids))
            answered[verb.__name__] += len(ids)
    return answered


ROLES: dict[str, Callable[[AsyncStorage, int, int], Awaitable[Any]]] = {
    role.__name__: role for role in (insert, restart, update, cross)
}


async def main(role: str, dsn: str, schema: str, *, tasks: int, rounds: int) -> None:
    async with AsyncStorage.start(dsn, schema=schema, references=Names(), max_size=5) as storage:
        print("ready", flush=True)
        if not await asyncio.to_thread(sys.stdin.readline):
            return  # whoever started it has gone
        print(json.dumps(await ROLES[role](storage, tasks, rounds)))


async def write_at_once(
    role: str, dsn: str, schema: str, *, processes: int, tasks: int, rounds: int
) -> Sequence[Any]:
    """Start that many processes, let them go at once, and give back what each of them did."""
    arguments = [role, dsn, schema, str(tasks), str(rounds)]
    started = []
    try:
        for number in range(processes):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tests.support.writers", *arguments, str(number)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=2**26,
            )
            started.append(process)
        for process in started:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        results = await asyncio.gather(*(process.communicate(b"go\n") for process in started))
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert [process.returncode for process in started] == [0] * processes
    return [json.loads(out) for out, _ in results]


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], tasks=int(sys.argv[4]), rounds=int(sys.argv[5])))
