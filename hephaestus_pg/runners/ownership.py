"""The verbs on runners, and on what they own."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from hephaestus_pg.driver.pool import connect_beside
from hephaestus_pg.execution.starting import Starting
from hephaestus_pg.runners.claim import Claims
from hephaestus_pg.runners.runner import Runner
from hephaestus_pg.runners.settings import Settings, backoff, runner_info
from hephaestus_pg.values.instance import checked_id
from hephaestus_pg.values.references import named
from hephaestus_pg.verbs.pruning import Verbs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from hephaestus_pg.codec.serializer import Serializer
    from hephaestus_pg.execution.pool_executor import PoolExecutor
    from hephaestus_pg.runners.settings import RunnerInfo

_NOT_STARTED = (
    "the runner is not started yet: write `runner = await storage.runner(...)`, or "
    "`async with storage.runner(...) as runner:`"
)


class OwnershipVerbs(Verbs):
    """Beside the verbs on instances those on their owners, which only a storage has."""

    _pool_executor: PoolExecutor
    """The executor again, by its own type."""

    def __init__(self, executor: PoolExecutor, serializer: Serializer) -> None:
        super().__init__(executor, serializer)
        self._pool_executor = executor
        self._claims = Claims()
        self._runners: WeakSet[Runner] = WeakSet()
        self._is_closing = False

    def runner(  # noqa: PLR0913 - each is an option of its own, by keyword
        self,
        *,
        workflows: Iterable[Any],
        name: str | None = None,
        lease: float = 30.0,
        max_attempts: int = 5,
        retry_after: Callable[[int], float] = backoff,
        max_stall: float = 300.0,
    ) -> Starting[Runner]:
        """Starts a runner, which owns instances: ``await`` it, or enter it with ``async with``.

        Args:
            workflows: What it can run; it is given nothing else.
            name: What operators know it by; by default the host's name and the process id.
            lease: Seconds after its last heartbeat until others take over what it owns.
            max_attempts: After so many failed attempts in a row an instance is given to nobody
                until somebody writes it or releases it (:meth:`release`). That holds for the
                workflows that it runs; where it takes over others from a dead runner, it only
                counts the attempt.
            retry_after: The seconds to wait after the n-th failed attempt, by default 2, 4, 8 … up
                to five minutes. It is called for each number once, when the runner starts.
            max_stall: Seconds after which an event loop that does not answer counts as dead, though
                the heartbeat goes on without it.

        Its heartbeat opens a connection like the pool's, in a thread with an event loop of its own:
        there the pool's hooks are called too (``connect``, ``init``, a ``password`` function). They
        are called in the context of who starts the runner, and so is ``setup`` for what
        ``claims()`` claims and gives back, whoever works on it: where that shows a tenant his own
        rows, start a runner for each, or one that sees all.

        Raises:
            InvalidValueError: An option is wrong.
            DatabaseError: No connection could be had for its heartbeat.
        """
        settings = Settings.checked(
            partial(named, self._serializer.references, "workflows"),
            workflows=workflows,
            name=f"{socket.gethostname()}:{os.getpid()}" if name is None else name,
            lease=lease,
            max_attempts=max_attempts,
            retry_after=retry_after,
            max_stall=max_stall,
        )

        async def started() -> Runner:
            executor = self._pool_executor
            executor.lifecycle.require_open()
            if self._is_closing:
                executor.lifecycle.refuse()
            connect = partial(connect_beside, executor.pool)
            runner = Runner(
                self, executor, self._serializer, settings, self._claims, connect, self._hearing
            )
            self._observers.add(self._claims)
            await runner.start()
            if self._is_closing:  # since before it could be stopped
                await runner.stop()
                executor.lifecycle.refuse()
            self._runners.add(runner)
            return runner

        return Starting(started, Runner.stop, _NOT_STARTED)

    async def runners(self, *, timeout: float | None = None) -> list[RunnerInfo]:
        """The runners that live, of all processes, the oldest first."""
        with self._executor.operation("runners", None, timeout) as deadline:
            rows = await self._executor.fetch(deadline, self._statements.runners)
        return [runner_info(row) for row in rows]

    async def release(self, id: str, *, timeout: float | None = None) -> bool:
        """Takes an instance from its owner, and forgets its failed attempts; for an operator.

        The owner's next ``update`` is stale, and its claim lost. ``False``: nobody owned it, and it
        had no failed attempts.
        """
        checked_id(id)
        with self._executor.operation("release", id, timeout) as deadline:
            rows = await self._executor.fetch(deadline, self._statements.release, id)
        return bool(rows)

    def _hearing(self) -> AbstractContextManager[object]:
        """Entered while a runner lives, so that it hears of work from other processes."""
        return nullcontext()

    async def _stop_runners(self) -> None:
        self._is_closing = True
        caller = asyncio.current_task()
        await asyncio.shield(asyncio.gather(*(runner.stopping(caller) for runner in self._runners)))
