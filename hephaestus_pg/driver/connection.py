"""Connections: those of our pool, those that callers give, and the end of any."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import asyncpg

from hephaestus_pg.driver.errors import DRIVER_ERRORS
from hephaestus_pg.errors import InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncpg import Pool
    from asyncpg.pool import PoolConnectionProxy

    from hephaestus_pg.driver.errors import AnyConnection

RELEASE_SECONDS = 0.5
"""Seconds for a connection to be reset or closed, before it is given up."""


def terminate(connection: AnyConnection) -> None:
    """Cuts a connection off at once, without a word to the server.

    Closing it or cancelling its statement may take for ever on a silent network
    (MagicStack/asyncpg#1326).
    """
    with suppress(*DRIVER_ERRORS):  # it may be gone, or the pool's again
        connection.terminate()


async def clean_up(
    connection: AnyConnection, work: Callable[[], Awaitable[object]], *, seconds: float
) -> None:
    """Does ``work`` even in a cancelled task, but not for longer than ``seconds``.

    If it fails or takes longer, the connection is terminated, which makes the server undo what was
    left: a silent server holds nobody up.
    """
    try:
        with anyio.CancelScope(shield=True):  # else anyio would cancel this wait as well
            async with asyncio.timeout(seconds):
                await work()
    except BaseException as error:
        terminate(connection)
        if not isinstance(error, DRIVER_ERRORS):
            raise


class PooledConnection(asyncpg.Connection):
    """A connection that closes in bounded time, and knows its age and whether a caller had it.

    A pool closes its expired connections without a timeout (seen in asyncpg 0.32): on a silent
    network the socket, and the task that closes it, would stay for ever.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.opened_at = asyncio.get_running_loop().time()
        self._lent = False

    def lend(self) -> None:
        """Notes that a caller gets this connection, and may leave something in its session."""
        self._lent = True

    @property
    def is_at_rest(self) -> bool:
        """Nothing has to be waited for before it can be used again."""
        cancelling: bool = self._protocol._is_cancelling()  # type: ignore[attr-defined]  # noqa: SLF001
        return not (self._lent or cancelling)

    async def reset_if_lent(self) -> None:
        """Resets the session, but only after a caller had it: this package leaves nothing there.

        asyncpg resets at each release, which is a round trip: without it a connection serves 1.5
        times as many gets.
        """
        if self._lent:
            self._lent = False
            await self.reset()
            # RESET ALL leaves these. A pool with hooks never comes here: its init may set a role.
            await self.execute("RESET SESSION AUTHORIZATION; RESET ROLE")

    async def close(self, *, timeout: float | None = None) -> None:
        """Closes the connection, or gives it up after :data:`RELEASE_SECONDS` by default."""
        with suppress(TimeoutError):  # asyncpg has terminated it then
            await super().close(timeout=RELEASE_SECONDS if timeout is None else timeout)


async def give_back(pool: Pool[Any], connection: PoolConnectionProxy[Any]) -> None:
    """Gives ``connection`` back to its ``pool``, within :data:`RELEASE_SECONDS`.

    asyncpg does so in a task of its own, lest a cancellation cuts a reset off. That takes three
    rounds of the event loop. So one of our own that is at rest goes back in the caller's task, by
    what that task would call.
    """
    try:
        lent: Any = connection
        held, holder = lent._con, lent._holder  # noqa: SLF001
        is_simple = (
            pool._reset is PooledConnection.reset_if_lent  # type: ignore[attr-defined]  # noqa: SLF001
            and held.is_at_rest
            # Else the next call of this task would come before those who wait, again and again.
            and not pool._queue._getters  # type: ignore[attr-defined]  # noqa: SLF001
        )
    except AttributeError:  # it is back already, or another pool's, or another asyncpg's
        is_simple = False
    if is_simple:
        held._on_release()  # noqa: SLF001
        await holder.release(RELEASE_SECONDS)
    else:
        await pool.release(connection, timeout=RELEASE_SECONDS)


def is_in_transaction(connection: AnyConnection) -> bool:
    """Returns ``True`` while the connection is open, whoever gave it has it, and it is in one."""
    try:
        return not connection.is_closed() and connection.is_in_transaction()
    except DRIVER_ERRORS:  # it went back to its pool
        return False


def checked_connection(connection: Any) -> AnyConnection:
    """Returns ``connection`` if it is one of asyncpg's own, by itself or of a pool.

    Raises:
        InvalidTypeError: It is not; the message says how to get at the one behind it.
    """
    if isinstance(connection, asyncpg.Connection):
        return connection
    advice = "give a connection of asyncpg"
    if isinstance(connection, asyncpg.Pool):
        advice = "take a connection of it: async with pool.acquire() as connection"
    elif hasattr(connection, "get_raw_connection"):
        advice += ": (await connection.get_raw_connection()).driver_connection"
    elif hasattr(connection, "get_bind") and hasattr(connection, "connection"):  # a session
        advice += ": (await (await session.connection()).get_raw_connection()).driver_connection"
    elif hasattr(connection, "driver_connection"):
        advice += ": its driver_connection"
    elif hasattr(connection, "__await__"):
        advice += ": await this one"
    raise InvalidTypeError("connection", connection, advice)
