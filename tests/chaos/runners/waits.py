"""How long instances wait for a new owner: an observer looks at the table again and again."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from hephaestus_pg.driver.errors import DRIVER_ERRORS
from tests.chaos.schedule import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    import asyncpg

    from tests.chaos.schedule import Arena
    from tests.support.lag import Lag

LOOK_SECONDS = 0.1
"""Seconds between two looks."""

# $1 are runners that are known to be dead or frozen.
OWNERLESS = f"""
SELECT id, runner::text, revision
FROM {SCHEMA}.workflow_instances
WHERE status = ANY ('{{pending,running,waiting}}') AND CASE
    WHEN runner IS NOT NULL THEN runner::text = ANY ($1::text[]) OR runner NOT IN (
        SELECT token FROM {SCHEMA}.workflow_runners WHERE expires_at > clock_timestamp()
    )
    WHEN due_at IS NULL THEN status <> 'waiting'
    ELSE due_at <= clock_timestamp()
END
"""

COUNT = f"""
SELECT
    count(*) AS all,
    count(*) FILTER (WHERE status = ANY ('{{pending,running,waiting}}')) AS open
FROM {SCHEMA}.workflow_instances
"""


class Ownerless(NamedTuple):
    """An instance that could be claimed, or whose owner is dead or frozen."""

    id: str
    owner: str | None
    revision: int

    def has_had_an_owner_since(self, before: Ownerless) -> bool:
        """It was claimed between two looks, the first of which saw ``before``."""
        if self.owner is not None:
            return self.owner != before.owner
        # Taking it from a dead owner is one revision; a claim and its end would be two.
        return self.revision > before.revision + (before.owner is not None)


class Clock:
    """Counts the seconds in which the server could be reached, less what the loop was late."""

    def __init__(self, lag: Lag) -> None:
        self.seconds = 0.0
        """The seconds that count, until the last look."""
        self.unreachable = 0.0
        """Those that do not, since the server could not be reached."""
        self._lag = lag
        self._looked, self._late = monotonic(), lag.total
        self._reachable_from = -inf

    @contextmanager
    def unreachable_during(self, after: float = 0.0) -> Iterator[None]:
        """Leave out the seconds of the block, and so many ``after`` it."""
        self._reachable_from = inf
        try:
            yield
        finally:
            self._reachable_from = monotonic() + after

    def look(self) -> float:
        """Count until now."""
        now, late = monotonic(), self._lag.total
        if self._looked < self._reachable_from:
            self.unreachable += now - self._looked
        else:
            self.seconds += max(0.0, now - self._looked - (late - self._late))
        self._looked, self._late = now, late
        return self.seconds


class Waits:
    """The instances without an owner, and since when; ``violations`` are waits beyond the bound."""

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self.violations: list[str] = []
        self.longest = 0.0
        self.number = 0
        """How many times an instance was seen without an owner, until it had one."""
        self._since: dict[str, tuple[float, Ownerless]] = {}
        self._late: set[tuple[str, float]] = set()

    def saw(self, moment: float, instances: Iterable[Ownerless]) -> None:
        """Take what one look saw at that moment."""
        seen = {}
        for instance in instances:
            since, before = self._since.get(instance.id, (None, instance))
            if since is None or instance.has_had_an_owner_since(before):
                since = moment
                self.number += 1
            seen[instance.id] = since, instance
            waited = moment - since
            self.longest = max(self.longest, waited)
            if waited > self.bound and (instance.id, since) not in self._late:
                self._late.add((instance.id, since))
                self.violations.append(
                    f"without an owner for {waited:.2f} s, and not {self.bound:g}: {instance}"
                )
        self._since = seen


class Observer:
    """Looks at the table, on a connection of its own; ``dead`` are dead or frozen runners."""

    def __init__(self, arena: Arena, clock: Clock, waits: Waits, dead: Collection[str]) -> None:
        self._arena = arena
        self._clock = clock
        self._waits = waits
        self._dead = dead
        self._looks = 0
        self.instances = 0
        self.open = 0
        """How many of them are not finished."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._observe())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def next(self) -> None:
        """Wait for the next look."""
        looks = self._looks
        while self._looks == looks:
            if self._task.done():
                self._task.result()  # raises what has ended it
            await asyncio.sleep(LOOK_SECONDS / 10)

    async def _observe(self) -> None:
        while True:
            try:
                async with self._arena.admin() as connection:
                    while True:
                        await self._look(connection)
                        await asyncio.sleep(LOOK_SECONDS)
            except DRIVER_ERRORS:
                await asyncio.sleep(LOOK_SECONDS)  # the server is away

    async def _look(self, connection: asyncpg.Connection[Any]) -> None:
        rows = await connection.fetch(OWNERLESS, list(self._dead))
        self._waits.saw(self._clock.look(), [Ownerless(*row) for row in rows])
        [(self.instances, self.open)] = await connection.fetch(COUNT)
        self._looks += 1
