"""Connections: those of our pool, those that callers give, and the end of any."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import anyio
import asyncpg

from hephaestus_pg.driver.errors import DRIVER_ERRORS
from hephaestus_pg.errors import InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncpg.pool import PoolConnectionProxy

    from hephaestus_pg.driver.errors import AnyConnection

RELEASE_SECONDS = 0.5
"""Seconds for a connection to be reset or closed, before it is given up."""

MAX_TEXTS = 1_000
"""Statements that a connection keeps prepared: each schema has its own, and tenants may be many."""


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
    """A connection of our pool: closes in bounded time, knows its age, and can be kept in hand.

    A pool closes its expired connections without a timeout (seen in asyncpg 0.32): on a silent
    network the socket, and the task that closes it, would stay for ever.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.opened_at = asyncio.get_running_loop().time()
        self._lent = False
        self._kept_as: Any = None
        self._set_codecs: set[tuple[str, str]] = set()
        """The types, with their schemas, whose values a caller has translated otherwise."""
        self.turns = 0
        """Pieces of work that were done on it since it was last taken from the pool."""
        self.texts: dict[str, None] = {}
        """The statements that it was last used for, in order, which it has mostly prepared."""

    def keep(self, proxy: PoolConnectionProxy[Any]) -> Self:
        """Returns the connection behind ``proxy``, as whom the pool gave it, to be kept in hand."""
        self._kept_as = proxy
        self.turns = 0
        return self

    def unkeep(self) -> PoolConnectionProxy[Any]:
        """Returns what the pool is to be given back."""
        proxy: PoolConnectionProxy[Any] = self._kept_as
        return proxy

    def lend(self) -> PoolConnectionProxy[Any]:
        """Returns what a caller may have, who may leave something in the connection's session.

        It has no effect any more once the connection is the pool's again.
        """
        self._lent = True
        return self.unkeep()

    def note(self, text: str) -> None:
        """Notes that it is used for a statement, if ``text`` is one."""
        if not text:
            return
        texts = self.texts
        texts.pop(text, None)
        texts[text] = None
        if len(texts) > MAX_TEXTS:
            del texts[next(iter(texts))]

    @property
    def is_current(self) -> bool:
        """It is open, and its pool has not expired it."""
        try:
            holder = self._kept_as._holder  # noqa: SLF001 - the pool says it nowhere else
            return not self.is_closed() and holder._generation == holder._pool._generation  # noqa: SLF001
        except AttributeError:  # another asyncpg's
            return False

    @property
    def is_at_rest(self) -> bool:
        """It can be used again as it is: nothing has to be waited for, or to be reset."""
        try:
            cancelling: bool = self._protocol._is_cancelling()  # type: ignore[attr-defined]  # noqa: SLF001
        except AttributeError:  # it is closed, or another asyncpg's
            return False
        return not (self._lent or cancelling or self.is_in_transaction()) and self.is_current

    async def set_type_codec(self, typename: str, *, schema: str = "public", **given: Any) -> None:
        """Sets a codec as asyncpg does, until the caller who has the connection gives it back."""
        await super().set_type_codec(typename, schema=schema, **given)
        self._set_codecs.add((typename, schema))

    async def set_builtin_type_codec(
        self, typename: str, *, schema: str = "public", **given: Any
    ) -> None:
        """Sets a codec likewise."""
        await super().set_builtin_type_codec(typename, schema=schema, **given)
        self._set_codecs.add((typename, schema))

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
            # Nor does asyncpg take these back, which the next caller would meet on this connection.
            self._query_loggers.clear()  # type: ignore[attr-defined]
            while self._set_codecs:
                typename, schema = self._set_codecs.pop()
                with suppress(ValueError):  # the type is gone
                    await self.reset_type_codec(typename, schema=schema)

    async def close(self, *, timeout: float | None = None) -> None:
        """Closes the connection, or gives it up after :data:`RELEASE_SECONDS` by default."""
        with suppress(TimeoutError):  # asyncpg has terminated it then
            await super().close(timeout=RELEASE_SECONDS if timeout is None else timeout)


class Server(NamedTuple):
    """The server and the database that a connection leads to, as far as the driver says it."""

    host: str | None
    port: int | None
    database: str | None

    @classmethod
    def behind(cls, connection: AnyConnection) -> Server:
        """Asks the driver, which has no public name for it; a Unix socket has no port."""
        address = getattr(connection, "_addr", None)
        database = getattr(getattr(connection, "_params", None), "database", None)
        host, port = address if isinstance(address, tuple) else (address, None)
        return cls(host, port, database)


def is_in_transaction(connection: AnyConnection) -> bool:
    """Returns ``True`` while the connection is open, whoever gave it has it, and it is in one."""
    try:
        return not connection.is_closed() and connection.is_in_transaction()
    except DRIVER_ERRORS:  # it went back to its pool
        return False


def has_left_transaction(connection: AnyConnection) -> bool:
    """Returns ``True`` where the connection is open, and in no transaction."""
    try:
        return not (connection.is_closed() or connection.is_in_transaction())
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
