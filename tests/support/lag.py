"""Times on a busy machine: how long something took, less what the event loop was late.

A loop that is not given the processor does everything late, and so does a test that takes a time
without this.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Self

from tests.support.catalog import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

TICK = 0.01
"""Seconds between two looks at the clock."""


class Lag:
    """Looks at the clock again and again, and adds up by how much it came to that too late."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._total = 0.0
        self.longest = 0.0
        """Seconds by which it was late at once, at the most."""

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._plan()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._next.cancel()
        self._count()
        self._due = inf

    @property
    def total(self) -> float:
        """Seconds by which the loop was late until now, all in all; it only grows."""
        return self._total + max(0.0, monotonic() - self._due)

    @property
    def seconds(self) -> float:
        """Seconds since the beginning, less the lag."""
        return monotonic() - self._began - self.total

    async def passed(self, seconds: float) -> None:
        """Wait for so long, besides what is lag."""
        until = self.seconds + seconds
        while self.seconds < until:
            await asyncio.sleep(TICK)

    def _plan(self) -> None:
        self._due = monotonic() + TICK
        self._next: asyncio.TimerHandle = self._loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._count()
        self._plan()

    def _count(self) -> None:
        late = max(0.0, monotonic() - self._due)
        self._total += late
        self.longest = max(self.longest, late)


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """See that the block ends within so many seconds, but for the loop's lag."""
    async with Lag() as lag:
        async with asyncio.timeout(WAIT_SECONDS):
            yield
        took = lag.seconds
    assert took <= seconds, f"{took:.2f} s, and not {seconds:g} s, beside a lag of {lag.total:.2f}"


async def happens(there: Callable[[], object]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not there():
            await asyncio.sleep(0.001)  # what is waited for needs the processor too
