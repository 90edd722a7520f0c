"""Claiming: one statement for all who wait for an instance at that moment."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from contextlib import suppress
from copy import copy
from math import inf
from typing import TYPE_CHECKING, Any

from hephaestus_pg.errors import (
    CorruptInstanceError,
    DatabaseError,
    HephaestusError,
    OperationInterruptedError,
)
from hephaestus_pg.values.instance import Instance, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from asyncpg import Record

    from hephaestus_pg.codec.serializer import Serializer
    from hephaestus_pg.execution.executor import Executor

logger = logging.getLogger("hephaestus_pg")

MOST = 100
"""Instances that one statement claims at the most."""

SPREAD, SPREAD_LEAST = 4, 20
"""Among how many times as many of the oldest a claim is drawn where there are other runners, and
among how many at least: if all take the first, most claims find them taken."""

POLL_SECONDS = 1.0
"""Seconds until the next look, where there was too little to claim and nothing was written here."""

BURY_SECONDS = 1.0
"""Seconds between two looks for dead runners, while somebody waits."""

ORPHANS_EVERY = 10
"""Every so many of these looks is for instances too whose runner has no row at all."""


class Claiming:
    """Takes instances for those who wait in :meth:`next`, and takes over from dead runners.

    Args:
        executor: Sends the statements.
        serializer: Reads the rows.
        token: The runner's.
        workflows: The names of the workflows that it runs.
        dead_delays: Seconds to wait after the n-th failed attempt of a runner that died, as text.
        held: The ids that are claimed and known, until they are given back.
        runners: The number of runners that live.
        on_corrupt: Gives a row back, after a failed attempt, that cannot be read.
    """

    def __init__(  # noqa: PLR0913 - each is a part of its own
        self,
        executor: Executor,
        serializer: Serializer,
        *,
        token: str,
        workflows: list[str],
        dead_delays: str,
        held: Collection[str],
        runners: Callable[[], int],
        on_corrupt: Callable[[str], Awaitable[object]],
        on_claimed: Callable[[Instance], None],
        on_unwanted: Callable[[Instance], Awaitable[object]],
    ) -> None:
        self._executor = executor
        self._serializer = serializer
        self._token = token
        self._workflows = workflows
        self._dead_delays = dead_delays
        self._held = held
        self._runners = runners
        self._on_corrupt = on_corrupt
        self._on_claimed = on_claimed
        self._on_unwanted = on_unwanted
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[Instance | None]] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ended: HephaestusError | None = None
        self._has_ended = False
        self._is_unsure = False
        self._buried = -inf
        self._looks = 0
        self._next_due = inf

    async def next(self) -> Instance | None:
        """The next instance, which the runner owns; ``None`` once it is stopped.

        Raises:
            HephaestusError: The runner is dead, or the server refuses to be asked.
        """
        if self._has_ended:
            if self._ended is not None:
                raise copy(self._ended)
            return None
        answer: asyncio.Future[Instance | None] = self._loop.create_future()
        self._waiting.append(answer)
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._work())
            self._task.add_done_callback(self._worked)
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                if (instance := answer.result()) is not None:
                    await asyncio.shield(self._on_unwanted(instance))
            else:
                answer.cancel()
            raise

    def wake(self, instance: Instance | None) -> None:
        """Look at once, if what was written may be claimed; ``None``: nobody knows what it was."""
        if self._waiting and (instance is None or instance.status in Status.ACTIVE):
            self._wake.set()
            if instance is not None and instance.due_at is not None:
                self._buried = -inf  # so that it is known when that is

    async def end(self, error: HephaestusError | None) -> None:
        """Hand nothing out any more: those who wait get ``None``, or the ``error``."""
        self.refuse(error)
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    def refuse(self, error: HephaestusError | None) -> None:
        """Answer all who wait, now and later."""
        self._has_ended, self._ended = True, error
        self._answer_all(error)

    def _answer_all(self, error: HephaestusError | None) -> None:
        while self._waiting:
            answer = self._waiting.popleft()
            if answer.done():
                continue
            if error is None:
                answer.set_result(None)
            else:
                answer.set_exception(copy(error))

    async def _work(self) -> None:
        while self._drop_cancelled():
            self._wake.clear()
            try:
                await self._bury()
                claimed = await self._claim()
            except DatabaseError as error:
                if not error.retryable and error.applied == "no":
                    self._answer_all(error)
                    return
                logger.warning("a claim failed, and is tried again: %s", error)
                claimed = False
            except HephaestusError as error:
                self._answer_all(error)
                return
            if not claimed:
                await self._pause()

    def _worked(self, task: asyncio.Task[None]) -> None:
        """Leave nobody waiting behind a task that something else has ended."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("claiming has failed", exc_info=error)
        if (task.cancelled() or error is not None) and not self._has_ended:
            self._answer_all(OperationInterruptedError())

    def _drop_cancelled(self) -> int:
        """Forget those who wait no longer; how many do."""
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft()
        return sum(not answer.done() for answer in self._waiting)

    async def _claim(self) -> bool:
        """Claim for those who wait; ``False`` if there was not enough."""
        number = min(self._drop_cancelled(), MOST)
        rows: list[Record] = []
        with self._executor.operation("claim", None, None) as deadline:
            if self._is_unsure:  # whatever a lost answer held is owned, and nobody knows of it
                held = list(self._held)
                statements = self._executor.statements
                rows = await self._executor.fetch(deadline, statements.owned, self._token, held)
                self._is_unsure = False
            if not rows:
                rows = await self._send(deadline, number)
        instances = sorted(await self._decoded(rows), key=_due)
        for instance in instances:
            self._on_claimed(instance)
        for instance in instances:
            await self._hand_out(instance)
        return len(rows) >= number

    async def _send(self, deadline: float, number: int) -> list[Record]:
        self._is_unsure = True  # until there is an answer
        try:
            rows = await self._executor.fetch(
                deadline,
                self._executor.statements.claim,
                self._token,
                self._workflows,
                str(number),
                str(self._among(number)),
            )
        except DatabaseError as error:
            self._is_unsure = error.applied != "no"
            raise
        self._is_unsure = False
        return rows

    def _among(self, number: int) -> int:
        if self._runners() < 2:  # noqa: PLR2004 - this one
            return number
        return max(SPREAD * number, SPREAD_LEAST)

    async def _decoded(self, rows: list[Record]) -> list[Instance]:
        instances = []
        for row in rows:
            try:
                instances.append(self._serializer.decode(row))
            except CorruptInstanceError as error:
                logger.error("claimed, and given back: %s", error)  # noqa: TRY400 - it says all
                await self._on_corrupt(row["id"])
        return instances

    async def _hand_out(self, instance: Instance) -> None:
        while self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_result(instance)
                return
        await self._on_unwanted(instance)

    async def _bury(self) -> None:
        if self._loop.time() < self._buried + BURY_SECONDS:
            return
        orphans = str(self._looks % ORPHANS_EVERY == 0)
        with self._executor.operation("bury", None, None) as deadline:
            [row] = await self._executor.fetch(
                deadline,
                self._executor.statements.bury,
                self._dead_delays,
                orphans,
                self._workflows,
            )
        self._looks += 1
        self._buried = self._loop.time()
        self._next_due = self._buried + (inf if row["due"] is None else float(row["due"]))
        if row["freed"] != "0":
            logger.warning("took over %s instances of dead runners", row["freed"])

    async def _pause(self) -> None:
        """Wait for a write of this process, for the next due moment, or for the next look."""
        until = self._loop.time() + POLL_SECONDS * random.uniform(0.8, 1.0)  # noqa: S311
        if until >= self._next_due:
            until, self._next_due = self._next_due, inf
            self._buried = -inf  # and then for the one after that
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._wake.wait()


def _due(instance: Instance) -> Any:
    return instance.due_at or instance.inserted_at, instance.id
