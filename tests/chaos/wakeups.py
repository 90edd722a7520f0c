"""Those who wait for what other processes write, and a check that each is told of it in time."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from hephaestus_pg import AsyncStorage, Names, Status
from tests.chaos.looks import Looks
from tests.chaos.schedule import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping

    import asyncpg

    from hephaestus_pg import Instance
    from tests.chaos.looks import Clock
    from tests.chaos.schedule import Arena

TOLD = 5.0
"""Seconds within which those who wait are given what is there, while the server can be asked."""

THERE = f"""
SELECT id, revision, status = ANY ('{{completed,failed}}') AS is_finished
FROM {SCHEMA}.workflow_instances
WHERE id = ANY ($1::text[])
"""


class Wakeups:
    """What was there, and what those who wait were given; ``violations`` is what was broken.

    A state is there from the first look that sees it. From then on it is due, until whoever waits
    for it is given it or a newer one; and nobody is given one that is not newer than the last.
    """

    def __init__(self, what: str, bound: float) -> None:
        self.bound = bound
        self.violations: list[str] = []
        self.number = 0
        """The states that were given."""
        self.lost = 0
        """The states that were given too late, or never."""
        self.slowest = 0.0
        self._what = what
        self._given: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._due: dict[str, deque[tuple[float, int]]] = {}

    def __str__(self) -> str:
        lost = f"lost for longer than {self.bound:g} s: {self.lost}"
        return f"{self.number} answers, the slowest after {self.slowest:.2f} s; {lost}"

    @property
    def ids(self) -> list[str]:
        """What is waited for."""
        return list(self._given)

    @property
    def are_due(self) -> bool:
        """Somebody waits for what is there."""
        return any(self._due.values())

    @contextmanager
    def expected(self, ids: list[str]) -> Iterator[None]:
        """Whoever runs the block waits for these."""
        for id in ids:
            self._given[id] = self._seen[id] = 0
            self._due[id] = deque()
        try:
            yield
        except Exception as error:  # noqa: BLE001 - none may end so
            self._broken(f"of {ids} ended with {error!r}")
        finally:
            for id in ids:
                del self._given[id], self._seen[id], self._due[id]

    def saw(self, moment: float, revisions: Mapping[str, int]) -> None:
        """Take what one look saw at that moment."""
        for id, due in self._due.items():
            if (revision := revisions.get(id, 0)) > self._seen[id]:
                self._seen[id] = revision
                due.append((moment, revision))
            while due and self._took(moment - due[0][0]):
                self._lost(id, *due.popleft())

    def given(self, moment: float, instance: Instance) -> None:
        """Take what somebody was given at that moment."""
        id, revision = instance.id, instance.revision or 0
        self.number += 1
        if revision <= self._given[id]:
            self._broken(f"gave {revision} of {id} after {self._given[id]}")
            return
        self._given[id] = revision
        self._seen[id] = max(revision, self._seen[id])
        due = self._due[id]
        while due and due[0][1] <= revision:
            since, seen = due.popleft()
            if self._took(moment - since):
                self._lost(id, since, seen)

    def _took(self, seconds: float) -> bool:
        """Note how long it took; ``True`` if that was too long."""
        self.slowest = max(self.slowest, seconds)
        return seconds > self.bound

    def _lost(self, id: str, since: float, revision: int) -> None:
        self.lost += 1
        self._broken(f"lost revision {revision} of {id}, which was there at {since:.2f} s")

    def _broken(self, what: str) -> None:
        self.violations.append(f"a {self._what} {what}")


class Waiters(Looks):
    """A storage of the run's own process that waits for what others write, and a look at that."""

    def __init__(self, arena: Arena, clock: Clock) -> None:
        super().__init__(arena)
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self.waits = Wakeups("wait", TOLD)
        self.watches = Wakeups("watch", TOLD)

    @property
    def violations(self) -> list[str]:
        return [*self.waits.violations, *self.watches.violations]

    async def __aenter__(self) -> Self:
        self.storage = await AsyncStorage.start(
            self._arena.dsn, name="waiters", schema=SCHEMA, references=Names()
        )
        return await super().__aenter__()

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.storage.close()
        await super().__aexit__(*error)

    def begin(self, ids: list[str]) -> None:
        """Wait for the end of each of these, and watch all of them until it is there."""
        for id in ids:
            self._start(self._wait(id))
        self.watch(ids)

    def watch(self, ids: list[str]) -> None:
        """Watch these until all of them have ended."""
        if ids:
            self._start(self._watch(ids))

    async def settled(self) -> None:
        """Wait until each was given what is there, or that is known to be lost."""
        await self.next()
        await self.next()  # which has begun after the call
        while self.waits.are_due or self.watches.are_due:
            await self.next()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait(self, id: str) -> None:
        with self.waits.expected([id]):
            self.waits.given(self._clock.look(), await self.storage.wait(id))

    async def _watch(self, ids: list[str]) -> None:
        unfinished = set(ids)
        with self.watches.expected(ids):
            async for instance in self.storage.watch(ids):
                self.watches.given(self._clock.look(), instance)
                if instance.status in Status.FINISHED:
                    unfinished.discard(instance.id)
                if not unfinished:
                    return

    async def look(self, connection: asyncpg.Connection[Any]) -> None:
        """See what is there of what is waited for."""
        rows = await connection.fetch(THERE, [*{*self.waits.ids, *self.watches.ids}])
        moment = self._clock.look()
        self.watches.saw(moment, {row["id"]: row["revision"] for row in rows})
        self.waits.saw(moment, {row["id"]: row["revision"] for row in rows if row["is_finished"]})
