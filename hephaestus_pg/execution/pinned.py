"""A connection that a worker keeps between its statements, for a moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hephaestus_pg.driver.errors import DRIVER_ERRORS
from hephaestus_pg.execution.connections import give_back, take

if TYPE_CHECKING:
    from asyncpg import Pool

    from hephaestus_pg.driver.errors import AnyConnection

KEEP_SECONDS = 0.02
"""Seconds after which a connection goes back to the pool, so that others have a turn."""


class PinnedConnection:
    """One connection of a pool that other code uses too. See :class:`Connections`.

    Without it, taking and giving back is a tenth of what a batched get costs.
    """

    def __init__(self, pool: Pool[Any]) -> None:
        self.pool = pool
        self._loop = asyncio.get_running_loop()
        self._kept: AnyConnection | None = None
        self._waiting = 0
        """Statements that wait for the pool, as the other half of a batch does."""
        self._until = 0.0

    @property
    def idle(self) -> int:
        """See :meth:`Connections.idle`."""
        return int(self._kept is not None)

    def try_acquire(self, _: str) -> AnyConnection | None:
        """See :meth:`Connections.try_acquire`."""
        kept, self._kept = self._kept, None
        return kept if kept is not None and _is_open(kept) else None

    async def acquire(self, _: str) -> AnyConnection:
        """See :meth:`Connections.acquire`."""
        self._waiting += 1
        try:
            acquired = await take(self.pool)
        finally:
            self._waiting -= 1
        self._until = self._loop.time() + KEEP_SECONDS
        return acquired

    def lend(self, connection: AnyConnection) -> AnyConnection:
        """See :meth:`Connections.lend`."""
        return connection

    def try_release(self, connection: AnyConnection) -> bool:
        """See :meth:`Connections.try_release`."""
        keeps = (
            self._kept is None
            and not self._waiting  # they might wait for this one
            and self._loop.time() < self._until
            and _is_open(connection)
        )
        if keeps:
            self._kept = connection
        return keeps

    async def release(self, connection: AnyConnection) -> None:
        """See :meth:`Connections.release`."""
        await give_back(self.pool, connection)

    async def close(self) -> None:
        """See :meth:`Connections.close`."""
        kept, self._kept = self._kept, None
        if kept is not None:
            await give_back(self.pool, kept)


def _is_open(connection: AnyConnection) -> bool:
    try:
        return not connection.is_closed()
    except DRIVER_ERRORS:  # it broke, and is the pool's again
        return False
