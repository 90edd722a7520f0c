"""The sources of connections: a pool, or what keeps connections of a pool in hand."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol

from hephaestus_pg.driver.connection import RELEASE_SECONDS, is_in_transaction, terminate
from hephaestus_pg.driver.errors import DRIVER_ERRORS
from hephaestus_pg.driver.hooks import cancel_requested
from hephaestus_pg.errors import RejectedError

if TYPE_CHECKING:
    from asyncpg import Pool

    from hephaestus_pg.driver.errors import AnyConnection

logger = logging.getLogger("hephaestus_pg")


class Connections(Protocol):
    """Lends connections of a ``pool``, each for one piece of work."""

    pool: Pool[Any]

    @property
    def idle(self) -> int:
        """Connections that are in hand and do nothing, which the pool counts as in use."""

    def try_acquire(self, text: str) -> AnyConnection | None:
        """A connection that can be had at once, if any, rather one that has prepared ``text``."""

    async def acquire(self, text: str) -> AnyConnection:
        """A connection, as soon as one can be had, where :meth:`try_acquire` gives none."""
        ...

    def lend(self, connection: AnyConnection) -> AnyConnection:
        """The connection as a caller's own code may have it, until it is released."""
        ...

    def try_release(self, connection: AnyConnection) -> bool:
        """Takes a connection back, unless that has to wait for something; ``True`` if it did."""

    async def release(self, connection: AnyConnection) -> None:
        """Takes a connection back, where :meth:`try_release` does not; raises no error of that."""

    async def close(self) -> None:
        """Gives the pool back what is in hand, and keeps nothing from then on."""


class PoolConnections:
    """Connections of a pool that other code may use too: each goes back after its work."""

    idle = 0

    def __init__(self, pool: Pool[Any]) -> None:
        self.pool = pool

    def try_acquire(self, _: str) -> AnyConnection | None:
        """See :meth:`Connections.try_acquire`."""
        return None

    async def acquire(self, _: str) -> AnyConnection:
        """See :meth:`Connections.acquire`."""
        return await take(self.pool)

    def lend(self, connection: AnyConnection) -> AnyConnection:
        """See :meth:`Connections.lend`."""
        return connection

    def try_release(self, _: AnyConnection) -> bool:
        """See :meth:`Connections.try_release`."""
        return False

    async def release(self, connection: AnyConnection) -> None:
        """See :meth:`Connections.release`."""
        await give_back(self.pool, connection)

    async def close(self) -> None:
        """See :meth:`Connections.close`."""


async def take(pool: Pool[Any]) -> AnyConnection:
    """Takes a connection from a ``pool`` whose hooks are the user's.

    Raises:
        RejectedError: It is in a transaction, as by ``BEGIN; SET LOCAL``: what is written there
            would be acknowledged, and be rolled back when the connection is given back.
    """
    connection: AnyConnection = await pool.acquire()
    if is_in_transaction(connection):
        terminate(connection)  # a class of the user's may have a reset that leaves it as it is
        await give_back(pool, connection)
        raise RejectedError(
            "the pool gave a connection that is in a transaction, which nobody would commit: let "
            "its setup and init begin none, and use SET, not SET LOCAL",
            applied="no",
            retryable=False,
        )
    return connection


async def give_back(pool: Pool[Any], connection: Any) -> None:
    """Gives a ``pool`` its connection back, within :data:`RELEASE_SECONDS`.

    An error of that is not raised: what the connection was used for has a result.
    """
    try:
        await pool.release(connection, timeout=RELEASE_SECONDS)
    except DRIVER_ERRORS:
        pass  # asyncpg has terminated a connection that could not be reset in time
    except BaseException as error:
        # asyncpg releases in a task of its own. If that was cancelled before it began, as by a
        # program that cancels all of its tasks, nobody else would.
        asyncio.get_running_loop().call_later(2 * RELEASE_SECONDS, terminate, connection)
        if isinstance(error, Exception):
            logger.exception("the pool's reset hook raised; its connection is closed")
        elif cancel_requested() or not isinstance(error, asyncio.CancelledError):
            raise
