"""Looks at the table, past the proxy, and a clock that counts while the server can be reached."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from hephaestus_pg.driver.errors import DRIVER_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import asyncpg

    from tests.chaos.schedule import Arena
    from tests.support.lag import Lag

LOOK_SECONDS = 0.1
"""Seconds between two looks."""


class Clock:
    """Counts the seconds in which the server could be reached, less what the loop was late."""

    def __init__(self, lag: Lag) -> None:
        self.seconds = 0.0
        """The seconds that count, until the last look."""
        self.unreachable = 0.0
        """Those that do not, since the server could not be reached."""
        self._lag = lag
        self._looked, self._late = monotonic(), lag.total
        self._reachable_from = -inf

    @contextmanager
    def unreachable_during(self, after: float = 0.0) -> Iterator[None]:
        """Leave out the seconds of the block, and so many ``after`` it."""
        self._reachable_from = inf
        try:
            yield
        finally:
            self._reachable_from = monotonic() + after

    def look(self) -> float:
        """Count until now."""
        now, late = monotonic(), self._lag.total
        if self._looked < self._reachable_from:
            self.unreachable += now - self._looked
        else:
            self.seconds += max(0.0, now - self._looked - (late - self._late))
        self._looked, self._late = now, late
        return self.seconds


class Looks:
    """Looks at the table while the block runs, on a connection of its own."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._looks = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._go_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def look(self, connection: asyncpg.Connection[Any]) -> None:
        """Look once."""
        raise NotImplementedError

    async def next(self) -> None:
        """Wait for the next look."""
        looks = self._looks
        while self._looks == looks:
            if self._task.done():
                self._task.result()  # raises what has ended it
            await asyncio.sleep(LOOK_SECONDS / 10)

    async def _go_on(self) -> None:
        while True:
            try:
                async with self._arena.admin() as connection:
                    while True:
                        await self.look(connection)
                        self._looks += 1
                        await asyncio.sleep(LOOK_SECONDS)
            except DRIVER_ERRORS:
                await asyncio.sleep(LOOK_SECONDS)  # the server is away
