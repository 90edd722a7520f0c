"""One timer for many deadlines: one for each costs a third of a call's way to its statement."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

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
    """Ends many pieces of work, each at a deadline of its own, by one timer."""

    def __init__(self) -> None:
        self.running: dict[Timeout, float] = {}
        """The deadlines of those that are to end."""
        self.timer = DeadlineTimer(self._expire)

    def stop(self) -> None:
        """Lets the timer go, unless some work is still to end."""
        if not self.running:
            self.timer.stop()

    def _expire(self, now: float) -> float:
        for timeout in [each for each, deadline in self.running.items() if deadline <= now]:
            timeout.expire()
        return min(self.running.values(), default=inf)


class Timeout:
    """A ``with`` block that is cancelled at the ``deadline``, and then raises a ``TimeoutError``.

    As ``asyncio.timeout_at`` does, which has a timer for each block, and is no plain ``with``.
    """

    __slots__ = ("_cancelling", "_deadline", "_has_expired", "_task", "_timeouts")

    def __init__(self, timeouts: Timeouts, deadline: float) -> None:
        self._timeouts = timeouts
        self._deadline = deadline
        self._has_expired = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # a coroutine of asyncio's runs in one
        self._task = task
        self._cancelling = task.cancelling()
        timeouts, deadline = self._timeouts, self._deadline
        timeouts.running[self] = deadline
        if deadline < timeouts.timer.next:
            timeouts.timer.set(deadline)
        return self

    def reschedule(self, deadline: float) -> None:
        """Gives the block another deadline; ``inf`` lets it take as long as it takes."""
        timeouts = self._timeouts
        if self in timeouts.running:
            timeouts.running[self] = deadline
            timeouts.timer.set(deadline)

    def expire(self) -> None:
        """Cancels the block."""
        self._timeouts.running.pop(self, None)
        self._has_expired = True
        self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timeouts.running.pop(self, None)
        # Where somebody else has cancelled the task too, that goes on.
        if (
            self._has_expired
            and self._task.uncancel() <= self._cancelling
            and isinstance(error, asyncio.CancelledError)
        ):
            raise TimeoutError from error
