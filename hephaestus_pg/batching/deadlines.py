"""One timer for many deadlines: one for each costs a third of a call's way to its statement."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STEP = 0.01
"""Seconds between two calls of ``expire`` at the least: with many deadlines each looks at many."""


class DeadlineTimer:
    """Calls ``expire`` with the time when the first deadline has come; it returns the next one."""

    def __init__(self, expire: Callable[[float], float]) -> None:
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.next = inf
        """The deadline for which the timer is set."""

    def set(self, deadline: float) -> None:
        """Have ``expire`` called by the ``deadline``, a time of the loop's clock."""
        if deadline < self.next:
            self.stop()
            self._timer, self.next = self._loop.call_at(deadline, self._ring), deadline

    def stop(self) -> None:
        """Call nothing any more, until another deadline is set."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self.next = None, inf

    def _ring(self) -> None:
        self.stop()
        now = self._loop.time()
        if (following := self._expire(now)) < inf:
            self.set(max(following, now + STEP))
