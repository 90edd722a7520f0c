"""Back-pressure: so many may be inside, and who comes later waits outside for a place."""

from __future__ import annotations

import asyncio
from collections import deque


class Places:
    """A number of places, given in the order in which they were asked for."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.taken = 0
        """Whoever finds fewer than ``number`` counts itself; the others :meth:`wait`."""
        self._outside: deque[asyncio.Future[None]] = deque()

    async def wait(self, deadline: float) -> None:
        """Wait for a place until the ``deadline``, a time of the loop's clock.

        Raises:
            TimeoutError: There was none in time.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outside.append(turn)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except BaseException:
            if not turn.cancelled():
                self.leave()  # the place was given already
            raise

    def leave(self, number: int = 1) -> None:
        """Give so many places to those who wait the longest, and back what nobody waits for."""
        while self._outside and number:
            turn = self._outside.popleft()
            if not turn.done():
                turn.set_result(None)
                number -= 1
        self.taken -= number
