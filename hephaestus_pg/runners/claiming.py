"""Claiming: one statement for all who wait for an instance at that moment."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from contextvars import copy_context
from copy import copy
from typing import TYPE_CHECKING, Any

from hephaestus_pg.errors import (
    CorruptInstanceError,
    DatabaseError,
    HephaestusError,
    OperationInterruptedError,
)
from hephaestus_pg.runners.reach import Reach
from hephaestus_pg.runners.takeover import Takeover, may_be_of_one_row
from hephaestus_pg.runners.waiters import Waiters

if TYPE_CHECKING:
    from asyncpg import Record

    from hephaestus_pg.codec.serializer import Serializer
    from hephaestus_pg.execution.executor import Executor
    from hephaestus_pg.runners.draining import Draining
    from hephaestus_pg.runners.giving_back import GivingBack
    from hephaestus_pg.runners.holdings import Holdings
    from hephaestus_pg.runners.settings import Settings
    from hephaestus_pg.values.instance import Instance

logger = logging.getLogger("hephaestus_pg")

POLL_SECONDS = 1.0
"""Seconds until the next look, where there was too little to claim and nobody told of a write."""

LEAST_SECONDS = 0.02
"""Seconds between two claims at the least, after two that found nothing: what others write is for
other runners then, or taken by them."""

END_SECONDS = 5.0
"""Seconds that a claim under way may take to end, once the runner is stopped."""


class Claiming:
    """Takes instances for those who wait in :meth:`next`, and takes over from dead runners.

    It has the context in which this was made, whoever waits: hooks of the pool may read that.
    """

    def __init__(
        self,
        executor: Executor,
        serializer: Serializer,
        settings: Settings,
        held: Holdings,
        giving_back: GivingBack,
    ) -> None:
        self._executor = executor
        self._serializer = serializer
        self._workflows = list(settings.workflows)
        self._held = held
        self._giving_back = giving_back
        self._takeover = Takeover(executor, settings)
        self._reach = Reach(lambda: self._takeover.runners)
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._waiting = Waiters()
        self._wake = asyncio.Event()
        self._claimed = 0.0
        self._has_timer = False
        """A timer was set while nobody waited: who waits next has to know when it is due."""
        self._task: asyncio.Task[None] | None = None
        self._ended: HephaestusError | None = None
        self._has_ended = False
        self.draining: Draining | None = None
        """Those who wait get ``None`` as soon as there is nothing to claim; ``None``: they wait."""
        self._is_unsure = False
        """The answer to a claim was lost: it may have taken instances that nobody knows of."""

    async def next(self) -> Instance | None:
        """The next instance, which the runner owns; ``None`` once it is stopped.

        Raises:
            HephaestusError: The runner is dead, or the server refuses to be asked.
        """
        if self._has_ended:
            if self._ended is not None:
                raise copy(self._ended)
            return None
        answer = self._waiting.join()
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = self._context.copy().run(asyncio.create_task, self._work())
            self._task.add_done_callback(self._worked)
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                if (instance := answer.result()) is not None:
                    await self._giving_back.give_back(instance.id, context=self._context)
            else:
                answer.cancel()
            raise

    def wake(self, has_timer: bool) -> None:  # noqa: FBT001 - it is called through a set
        """Looks at once, because something may be claimable, with a timer only later."""
        if self._waiting:
            self._wake.set()
            if has_timer:
                self._takeover.look_soon()  # to know when that is
        elif self._takeover.looks:  # the first one comes in any case
            self._has_timer |= has_timer

    def look_at_once(self) -> None:
        """Looks anew, for dead runners too, and for when the next is due: the clock was moved."""
        self._takeover.look_soon()
        self._wake.set()

    def claim_ended(self) -> None:
        """Looks at once whether that was the last, where somebody drains."""
        if self.draining is not None:
            self._wake.set()

    @property
    def is_waited_for(self) -> bool:
        """Somebody waits for an instance."""
        return bool(self._waiting)

    async def end(self, error: HephaestusError | None) -> None:
        """Hands nothing out any more: those who wait get ``None``, or the ``error``.

        A claim that is under way ends first, lest it takes what nobody gives back.
        """
        self.refuse(error)
        if self._task is not None:
            self._wake.set()
            await asyncio.wait({self._task}, timeout=END_SECONDS)
            self._task.cancel()

    def refuse(self, error: HephaestusError | None) -> None:
        """Answers all who wait, now and later."""
        self._has_ended, self._ended = True, error
        self._waiting.answer_all(error)

    async def _work(self) -> None:
        while self._waiting:
            self._wake.clear()
            # What a body makes while this looks is not seen by it.
            was_idle = self.draining is not None and not self._held.ids()
            try:
                await self._takeover.look()
                claimed = await self._claim()
            except DatabaseError as error:
                if may_be_of_one_row(error) and self.draining is None:
                    self._claim_one_by_one(error)
                elif not error.retryable and error.applied == "no":
                    self._waiting.answer_all(error)
                    return
                else:
                    logger.warning("a claim failed, and is tried again: %s", error)
                claimed = was_idle = False
            except HephaestusError as error:
                self._waiting.answer_all(error)
                return
            if self.draining is not None and self.draining.is_over_limit:
                self._waiting.answer_all(self.draining.error())
                return
            if was_idle and self._reach.found_nothing and not self._held.ids():
                self._waiting.answer_all(None)
                return
            if not claimed:
                await self._pause()

    def _claim_one_by_one(self, error: DatabaseError) -> None:
        """Has instances claimed one by one for a while, and the next at once."""
        if not self._reach.is_one_by_one:
            logger.warning("an instance cannot be claimed, and others are one by one: %s", error)
            self._reach.draw_one_by_one()
            self._wake.set()

    def _worked(self, task: asyncio.Task[None]) -> None:
        """Leaves nobody waiting behind a task that something else has ended."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("claiming has failed", exc_info=error)
        if (task.cancelled() or error is not None) and not self._has_ended:
            self._waiting.answer_all(OperationInterruptedError())

    async def _claim(self) -> bool:
        """Claims for those who wait; ``False`` if there was nothing more to claim."""
        self._claimed = self._loop.time()
        number = self._reach.number(len(self._waiting))
        rows: list[Record] = []
        with self._executor.operation("claim", None, None) as deadline:
            if self._is_unsure:
                rows = await self._unknown(deadline)
                self._is_unsure = False
            if not rows:
                rows = await self._send(deadline, number)
        may_be_more = self._reach.note(len(rows), number)
        instances, unreadable = self._decoded(rows)
        for instance in instances:
            self._held.claimed(instance.id)
        give_back = self._giving_back.give_back
        await asyncio.gather(
            *[give_back(id, failed=True) for id in unreadable],
            *[give_back(each.id) for each in instances if not self._hand_out(each)],
        )
        return may_be_more

    async def _unknown(self, deadline: float) -> list[Record]:
        """Reads what is owned and nobody here knows of: what a lost answer held."""
        owned, token = self._executor.statements.owned, self._giving_back.token
        rows = await self._executor.fetch(deadline, owned, token, self._held.ids())
        known = set(self._held.ids())  # more by now: a second claim of those would fence nothing
        return [row for row in rows if row["id"] not in known]

    async def _send(self, deadline: float, number: int) -> list[Record]:
        self._is_unsure = True  # until there is an answer
        try:
            rows = await self._executor.fetch(
                deadline,
                self._executor.statements.claim,
                self._giving_back.token,
                self._workflows,
                str(number),
                str(self._reach.among(number)),
                str(self._reach.is_random),
            )
        except DatabaseError as error:
            self._is_unsure = error.applied != "no"
            raise
        self._is_unsure = False
        return rows

    def _decoded(self, rows: list[Record]) -> tuple[list[Instance], list[str]]:
        """Reads the rows, the oldest due first, and the ids of those that cannot be read."""
        instances, unreadable = [], []
        for row in rows:
            try:
                instances.append(self._serializer.decode(row))
            except CorruptInstanceError as error:
                logger.error("claimed, and given back: %s", error)  # noqa: TRY400 - it says all
                unreadable.append(row["id"])
        return sorted(instances, key=_due), unreadable

    def _hand_out(self, instance: Instance) -> bool:
        """Gives it to one who waits; ``False`` if nobody does any more, or may not have it."""
        if self._waiting and self.draining is not None and not self.draining.takes_one():
            return False
        return self._waiting.hand_out(instance)

    async def _pause(self) -> None:
        """Waits for a write that tells of itself, for the next due moment, or for the next look."""
        if self._has_timer:
            self._has_timer = False
            self._takeover.look_soon()
            return
        until = self._loop.time() + POLL_SECONDS * random.uniform(0.8, 1.0)  # noqa: S311
        if until >= self._takeover.next_due:
            until = self._takeover.next_due
            self._takeover.look_soon()  # to know of the one after that
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._wake.wait()
        if self._reach.found_nothing > 1:
            await asyncio.sleep(self._claimed + LEAST_SECONDS - self._loop.time())


def _due(instance: Instance) -> Any:
    return instance.due_at or instance.inserted_at, instance.id
