"""The time that the oldest claimable instance has waited, as of the last look at the table."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from contextvars import Context
from math import inf, isfinite
from typing import TYPE_CHECKING

from hephaestus_pg.errors import HephaestusError

if TYPE_CHECKING:
    from hephaestus_pg.execution.pool_executor import PoolExecutor

logger = logging.getLogger("hephaestus_pg")

LOOK_SECONDS = 15.0
"""Seconds between two looks at the least: each is one statement, however many may be claimed."""


class Backlog:
    """Looks at the table when somebody has asked, in the storage's event loop.

    A reader of metrics is on another thread, and cannot wait: it is given what the last look found.
    """

    def __init__(self, executor: PoolExecutor) -> None:
        self._executor = executor
        self._lags: dict[str, float] = {}
        self._looked = -inf
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> dict[str, float]:
        """Returns the seconds by workflow, and has the table looked at for the next time."""
        with suppress(RuntimeError):  # the loop is closed
            self._executor.lifecycle.loop.call_soon_threadsafe(self._look_soon)
        return self._lags

    async def stop(self) -> None:
        """Ends a look that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _look_soon(self) -> None:
        lifecycle = self._executor.lifecycle
        is_due = lifecycle.loop.time() >= self._looked + LOOK_SECONDS
        is_idle = self._task is None or self._task.done()
        if is_due and is_idle and not lifecycle.closed:
            self._looked = lifecycle.loop.time()
            self._task = Context().run(lifecycle.loop.create_task, self._look())

    async def _look(self) -> None:
        executor = self._executor
        try:
            with executor.operation("backlog", None, None) as deadline:
                rows = await executor.fetch(deadline, executor.statements.backlog)
        except HephaestusError as error:
            logger.debug("a look at the backlog failed, and comes again: %s", error)
            self._lags = {}
            return
        lags = {row["workflow"]: float(row["now"]) - float(row["since"]) for row in rows}
        # A due_at may be infinite, set by hand.
        self._lags = {workflow: max(lag, 0.0) for workflow, lag in lags.items() if isfinite(lag)}
