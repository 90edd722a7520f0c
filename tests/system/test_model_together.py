"""Many callers at once against a dictionary each, so that their calls share statements.

Each has ids of its own, of which it knows everything; ids that all share have a history, which must
hold each acknowledged write exactly once. A failure prints its seed: ``HEPHAESTUS_PG_TEST_SEED=``
that one draws the same calls again.
"""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import (
    AsyncStorage,
    Context,
    Instance,
    InstanceExistsError,
    InstanceNotFoundError,
    StaleInstanceError,
    Status,
)
from tests.support.model import Rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.faults import FaultsOf
    from tests.support.starting import Start

SHARED = [f"shared::{number}" for number in range(5)]


class Shared:
    """What is known of the ids that everybody writes."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, dict[int, str]] = {id: {} for id in SHARED}
        self.highest = dict.fromkeys(SHARED, 1)
        """The highest revision that anybody was told."""

    def told(self, instance: Instance, *, at_least: int) -> None:
        assert instance.revision is not None
        assert instance.revision >= at_least, "a revision went back"
        self.highest[instance.id] = max(self.highest[instance.id], instance.revision)


class Caller(Rows):
    """One caller: ``rows`` is what its own ids must hold."""

    def __init__(self, storage: AsyncStorage, shared: Shared, number: int, seed: int) -> None:
        super().__init__()
        self.storage = storage
        self.shared = shared
        self.number = number
        self.chance = random.Random(f"{seed} {number}")
        self.ids = [f"own::{number}::{n}" for n in range(3)]
        self.written = 0

    async def live(self, calls: int) -> None:
        verbs: list[Callable[[str], Awaitable[None]]] = [
            self.get, self.put, self.put, self.insert, self.insert, self.replace_finished,
            self.update, self.update, self.delete, self.delete_at, self.in_order, self.append,
        ]  # fmt: skip
        for _ in range(calls):
            await self.chance.choice(verbs)(self.chance.choice(self.ids))

    def new(self, id: str) -> Instance:
        """A state that nobody wrote before."""
        self.written += 1
        initial = {"caller": self.number, "written": self.written}
        return Instance(
            id,
            self.chance.choice(("A", "B")),
            workflow_version=self.chance.randint(1, 3),
            status=self.chance.choice(list(Status)),
            context=Context(initial),
        )

    def check(self, actual: Instance | None, id: str) -> None:
        held = self.rows.get(id)
        assert actual == held
        assert actual is None or held is None or actual.revision == held.revision

    async def get(self, id: str) -> None:
        self.check(await self.storage.get(id), id)

    async def put(self, id: str) -> None:
        new = self.new(id)
        self.wrote(await self.storage.put(new), self.upserted(new))

    async def insert(self, id: str, *, replace_finished: bool = False) -> None:
        new, held = self.new(id), self.rows.get(id)
        call = self.storage.insert(new, replace_finished=replace_finished)
        if held is None or (replace_finished and held.status in Status.FINISHED):
            revision = None if held is None else (held.revision or 0) + 1
            self.wrote(await call, replace(new, revision=revision))
        else:
            with pytest.raises(InstanceExistsError) as caught:
                await call
            assert (caught.value.status, caught.value.workflow) == (held.status, held.workflow)

    async def replace_finished(self, id: str) -> None:
        await self.insert(id, replace_finished=True)

    async def update(self, id: str) -> None:
        seen = self.chance.choice(self.seen[-6:] or [replace(self.new(id), revision=1)])
        changed = replace(self.new(seen.id), revision=seen.revision)
        held = self.rows.get(seen.id)
        call = self.storage.update(changed)
        if held is None:
            with pytest.raises(InstanceNotFoundError):
                await call
        elif held.revision != seen.revision:
            with pytest.raises(StaleInstanceError) as caught:
                await call
            assert (caught.value.expected, caught.value.found) == (seen.revision, held.revision)
        else:
            self.wrote(await call, replace(changed, revision=(held.revision or 0) + 1))

    async def delete(self, id: str) -> None:
        assert await self.storage.delete(id) == (self.rows.pop(id, None) is not None)

    async def delete_at(self, id: str) -> None:
        held = self.rows.get(id)
        revision = self.chance.randint(0, 2) + (1 if held is None else (held.revision or 0) - 2)
        call = self.storage.delete(id, revision=revision)
        if held is not None and held.revision != revision:
            with pytest.raises(StaleInstanceError):
                await call
        else:
            self.rows.pop(id, None)
            assert await call == (held is not None)

    async def in_order(self, id: str) -> None:
        """Calls at once on one id take effect in the order in which they were made."""
        first, second, third = (self.new(id) for _ in range(3))
        one, got, two, gone, last, read = await asyncio.gather(
            self.storage.put(first),
            self.storage.get(id),
            self.storage.put(second),
            self.storage.delete(id),
            self.storage.insert(third),
            self.storage.get(id),
        )
        self.wrote(one, self.upserted(first))
        self.check(got, id)
        self.wrote(two, self.upserted(second))
        assert gone is True
        del self.rows[id]
        self.wrote(last, self.upserted(third))
        self.check(read, id)

    async def append(self, _: str) -> None:
        """Add a mark to a shared id, by compare-and-set, again if another was faster."""
        id = self.chance.choice(SHARED)
        self.written += 1
        mark = f"{self.number}.{self.written}"
        for _attempt in range(5):  # with a thousand callers most are too late: then they leave it
            before = self.shared.highest[id]
            held = await self.storage.get(id)
            assert held is not None
            self.shared.told(held, at_least=before)
            before = self.shared.highest[id]
            marks = [*held.context.initial["marks"], mark]
            try:
                stored = await self.storage.update(replace(held, context=Context({"marks": marks})))
            except StaleInstanceError as error:
                self.shared.told(replace(held, revision=error.found), at_least=error.expected + 1)
                continue
            self.shared.told(stored, at_least=before)
            assert stored.revision is not None
            assert stored.revision not in self.shared.acknowledged[id]
            self.shared.acknowledged[id][stored.revision] = mark
            return


@pytest.mark.parametrize(("callers", "calls"), ((1, 500), (64, 40), (1000, 5)))
async def test_what_shares_statements_does_what_a_dictionary_each_would(
    start: Start, faults_of: FaultsOf, callers: int, calls: int
) -> None:
    seed = int(os.environ.get("HEPHAESTUS_PG_TEST_SEED") or random.randrange(10**6))
    print(f"HEPHAESTUS_PG_TEST_SEED={seed}")
    shared = Shared()
    async with start() as storage:
        sent = faults_of(storage).sent  # nothing goes wrong
        first = {
            each.id: each.revision or 0
            for each in await storage.put_many(
                Instance.new("W", {"marks": []}, id=id) for id in SHARED
            )
        }
        everybody = [Caller(storage, shared, number, seed) for number in range(callers)]

        async with asyncio.TaskGroup() as group:
            for caller in everybody:
                group.create_task(caller.live(calls))

        held = {row.id: row async for row in storage.stream()}
        for id, acknowledged in shared.acknowledged.items():
            row = held.pop(id)
            assert row.revision == first[id] + len(acknowledged)
            assert row.context.initial["marks"] == [acknowledged[at] for at in sorted(acknowledged)]
        expected = {id: row for caller in everybody for id, row in caller.rows.items()}
        assert held == expected
        assert all(row.revision == expected[id].revision for id, row in held.items())
    assert sum(map(len, shared.acknowledged.values())) > len(SHARED)
    if callers > 1:
        together = {name for name in sent if name.startswith("BATCH ")}
        assert together == {
            f"BATCH {verb}" for verb in ("get", "put", "insert", "update", "delete")
        }
