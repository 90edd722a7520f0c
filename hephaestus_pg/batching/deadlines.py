"""One timer for many deadlines: one for each costs a third of a call's way to its statement."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STEP = 0.01
"""Seconds between two looks at the least: with many deadlines a look is at many calls."""


class Alarm:
    """Has ``look`` called, with the time, when the first deadline has come; it gives the next."""

    def __init__(self, look: Callable[[float], float]) -> None:
        self._look = look
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._at = inf

    def set(self, deadline: float) -> None:
        """See to it that there is a look at the ``deadline``, a time of the loop's clock."""
        if deadline < self._at:
            self.stop()
            self._timer, self._at = self._loop.call_at(deadline, self._ring), deadline

    def stop(self) -> None:
        """Look no more, until another deadline is set."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._at = None, inf

    def _ring(self) -> None:
        self.stop()
        now = self._loop.time()
        if (following := self._look(now)) < inf:
            self.set(max(following, now + STEP))
