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


class Timeouts:
    """Lets many ``asyncio.timeout(None)`` blocks expire, each at a deadline, by one timer."""

    def __init__(self) -> None:
        self._deadlines: dict[asyncio.Timeout, float] = {}
        self._timer = DeadlineTimer(self._expire)

    def add(self, timeout: asyncio.Timeout, deadline: float) -> None:
        """Lets a block that has been entered expire at the ``deadline``."""
        self._deadlines[timeout] = deadline
        self._timer.set(deadline)

    def discard(self, timeout: asyncio.Timeout) -> None:
        """Lets a block go on for ever, or forgets one that is left."""
        self._deadlines.pop(timeout, None)

    def stop(self) -> None:
        """Lets the timer go, unless a block is still to expire."""
        if not self._deadlines:
            self._timer.stop()

    def _expire(self, now: float) -> float:
        expired = [each for each, deadline in self._deadlines.items() if deadline <= now]
        for timeout in expired:
            del self._deadlines[timeout]
            timeout.reschedule(now)
        return min(self._deadlines.values(), default=inf)
