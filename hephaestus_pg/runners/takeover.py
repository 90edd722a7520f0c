"""Taking over: what dead runners own becomes claimable again."""

from __future__ import annotations

import asyncio
import logging
import random
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from hephaestus_pg.errors import DatabaseError
from hephaestus_pg.runners.settings import delays_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncpg import Record

    from hephaestus_pg.execution.executor import Executor
    from hephaestus_pg.runners.settings import Settings

logger = logging.getLogger("hephaestus_pg")

LOOK_SECONDS = 1.0
"""Seconds between two looks for dead runners, while somebody waits for a claim."""

HELD_SECONDS = 2.0
"""Seconds that a look may take where it cannot skip what somebody holds: claims wait for it."""

ORPHANS_EVERY = 10
"""Of so many looks, by all runners together, one is for instances too whose runner has no row.

A claim that was under way while its runner was taken over leaves them. It reads all that is owned.
"""

_OF_ONE_ROW = {"22", "23", "44", "54", "P0"}
"""Classes of SQLSTATE: data, constraints, views with a check, limits, and what functions raise."""


class Takeover:
    """Frees what dead runners own, counts the living, and tells when the next instance is due."""

    def __init__(self, executor: Executor, settings: Settings) -> None:
        self._executor = executor
        self._workflows = list(settings.workflows)
        # By the time that a runner counts as dead, its instances have waited for its lease.
        self._delays = delays_text(max(each - settings.lease, 0.0) for each in settings.delays)
        self._looked = -inf
        self._is_asked = False
        """The next look shall happen, however soon it comes: one under way may have been early."""
        self._found_some = False
        """The last look has freed what somebody owned, and left what somebody had locked."""
        self.looks = 0
        """The number of looks so far."""
        self.next_due = inf
        """The moment of the event loop at which the next instance is due, as far as is known."""
        self.runners = 1
        """The runners that lived at the last look, this one included."""

    def look_soon(self) -> None:
        """Lets the next :meth:`look` happen, however soon it comes."""
        self._is_asked, self.next_due = True, inf

    async def look(self) -> None:
        """Frees what the dead own, unless that was done less than :data:`LOOK_SECONDS` ago."""
        now = asyncio.get_running_loop().time
        if now() < self._looked + LOOK_SECONDS and not self._is_asked:
            return
        self._is_asked = False
        share = ORPHANS_EVERY * self.runners
        is_ones_turn = random.random() * share < 1  # noqa: S311 - one of them does
        with_orphans = not self.looks or self._found_some or is_ones_turn
        try:
            with self._executor.operation("take_over", None, None) as latest:
                deadline = latest
                if self._executor.statements.is_distributed:
                    deadline = min(latest, now() + HELD_SECONDS)
                fetch = partial(self._executor.fetch, deadline)
                row = await self.free_dead(fetch, with_orphans=with_orphans)
        except DatabaseError as error:
            if not error.retryable and not may_be_of_one_row(error):
                raise
            self._found_some = True  # what those owned whose rows have gone
            self._looked = now()  # whatever keeps it from that keeps nobody from claiming
            logger.warning("a look for dead runners failed, and comes again: %s", error)
            return
        self.looks += 1
        self._looked = now()
        self._found_some = row["found_some"] == "true"
        self.next_due = self._looked + (inf if row["due"] is None else float(row["due"]))
        self.runners = int(row["runners"])
        if row["freed"] != "0":
            logger.warning("took over %s instances of dead runners", row["freed"])

    async def free_dead(
        self, fetch: Callable[..., Awaitable[list[Record]]], *, with_orphans: bool = False
    ) -> Record:
        """Frees what dead runners own by statements that ``fetch`` sends; gives the last one's row.

        ``with_orphans``: also what those own whose rows have gone.
        """
        statements = self._executor.statements
        arguments = [self._delays, str(with_orphans), self._workflows]
        if statements.is_distributed:
            [ended] = await fetch(statements.end_dead)
            arguments.append(ended["tokens"])
        [row] = await fetch(statements.take_over, *arguments)
        return row


def may_be_of_one_row(error: DatabaseError) -> bool:
    """``True`` where the update of one row may be refused, and that of others not.

    By a constraint that was added ``NOT VALID``, say, a trigger that raises, or a state's size.
    """
    return error.sqlstate is not None and error.sqlstate[:2] in _OF_ONE_ROW
