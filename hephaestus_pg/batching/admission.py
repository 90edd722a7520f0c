"""Limits the calls that are queued or under way; later ones wait outside, in order."""

from __future__ import annotations

import asyncio
from collections import deque


class Limit:
    """A number of calls that several admissions share, and the calls that wait outside."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.inside = 0
        """Calls that have been let in, by any of the admissions, and have not left."""
        self.outside: deque[tuple[asyncio.Future[None], Admission]] = deque()
        """Calls that wait, those first that came first."""

    @property
    def waiting(self) -> int:
        """The number of calls that wait outside."""
        return len(self.outside)


class Admission:
    """Lets calls in, as long as the ``limit`` allows."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self.inside = 0
        """Calls that have been let in here and have not left."""
        self.waiting = 0
        """Calls that wait outside to be let in here."""

    @property
    def has_room(self) -> bool:
        """A call would be let in at once."""
        return self._limit.inside < self._limit.most

    def try_enter(self) -> bool:
        """Lets a call in, if there is room."""
        limit = self._limit
        if limit.inside >= limit.most:
            return False
        limit.inside += 1
        self.inside += 1
        return True

    async def enter(self, deadline: float) -> None:
        """Lets a call in, as soon as there is room.

        Raises:
            TimeoutError: There was none until the ``deadline``, a time of the loop's clock.
        """
        if self.try_enter():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._limit.outside.append((turn, self))
        self.waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except BaseException:
            if not turn.cancelled():
                self.leave()  # it was let in already
            raise
        finally:
            self.waiting -= 1

    def leave(self, number: int = 1) -> None:
        """Gives back as many places: first to those who have waited longest outside."""
        limit = self._limit
        self.inside -= number
        while limit.outside and number:
            turn, admission = limit.outside.popleft()
            if not turn.done():
                turn.set_result(None)
                admission.inside += 1
                number -= 1
        limit.inside -= number
