"""Admission: so many calls may be inside, and who comes later waits outside, in order."""

from __future__ import annotations

import asyncio
from collections import deque


class Admission:
    """Lets up to ``limit`` calls in, those that wait in the order in which they came."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.inside = 0
        """Whoever finds fewer than ``limit`` counts itself; the others :meth:`enter`."""
        self._outside: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """The number of calls that wait outside."""
        return len(self._outside)

    async def enter(self, deadline: float) -> None:
        """Wait to be let in until the ``deadline``, a time of the loop's clock.

        Raises:
            TimeoutError: Too many were inside for all of the time.
        """
        if self.inside < self.limit:
            self.inside += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outside.append(turn)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except BaseException:
            if not turn.cancelled():
                self.leave()  # it was let in already
            raise

    def leave(self, number: int = 1) -> None:
        """Let as many in as leave, those first who have waited the longest."""
        while self._outside and number:
            turn = self._outside.popleft()
            if not turn.done():
                turn.set_result(None)
                number -= 1
        self.inside -= number
