"""One timer for many deadlines: one for each costs a third of a call's way to its statement."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STEP = 0.01
"""Least seconds between two calls of ``expire``, each of which looks at every request."""


class DeadlineTimer:
    """Calls ``expire(now)`` once the first deadline has passed; it returns the next deadline."""

    def __init__(self, expire: Callable[[float], float]) -> None:
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.next = inf
        """The deadline for which the timer is set."""

    def set(self, deadline: float) -> None:
        """Has ``expire`` called by the ``deadline``, a time of the loop's clock."""
        if deadline < self.next:
            self.stop()
            self._timer, self.next = self._loop.call_at(deadline, self._on_timer), deadline

    def stop(self) -> None:
        """Calls nothing any more, until another deadline is set."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self.next = None, inf

    def _on_timer(self) -> None:
        self.stop()
        now = self._loop.time()
        if (following := self._expire(now)) < inf:
            self.set(max(following, now + STEP))
