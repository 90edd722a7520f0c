"""How long instances wait for a new owner: an observer looks at the table again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.chaos.looks import Looks
from tests.chaos.schedule import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import asyncpg

    from tests.chaos.looks import Clock
    from tests.chaos.schedule import Arena

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

    def __str__(self) -> str:
        late = f"longer than {self.bound:g} s: {len(self.violations)}"
        return f"{self.number}, the longest for {self.longest:.2f} s; {late}"

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


class Observer(Looks):
    """Sees who has no owner, and how many instances there are.

    ``waits`` last from the death of an owner, or its being frozen, as is known of the ``dead``;
    ``starts`` from when an instance can be claimed. Both last until it is.
    """

    def __init__(
        self, arena: Arena, clock: Clock, waits: Waits, starts: Waits, dead: Collection[str]
    ) -> None:
        super().__init__(arena)
        self._clock = clock
        self._waits = waits
        self._starts = starts
        self._dead = dead
        self.instances = 0
        self.open = 0
        """How many of them are not finished."""

    async def look(self, connection: asyncpg.Connection[Any]) -> None:
        """Look once."""
        rows = [Ownerless(*row) for row in await connection.fetch(OWNERLESS, list(self._dead))]
        moment = self._clock.look()
        self._waits.saw(moment, rows)
        self._starts.saw(moment, [each for each in rows if each.owner is None])
        [(self.instances, self.open)] = await connection.fetch(COUNT)
