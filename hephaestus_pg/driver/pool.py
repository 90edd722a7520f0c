"""Opening connections and pools."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg.driver.connector import Connector
from hephaestus_pg.driver.errors import translated_errors
from hephaestus_pg.driver.hooks import given_hooks, named_hooks
from hephaestus_pg.dsn.target import checked_dsn
from hephaestus_pg.dsn.text import shown, without_password
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError, RejectedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from asyncpg import Connection, Pool


def resolved_dsn(dsn: Any) -> str | None:
    """The DSN to use: the one given, else ``HEPHAESTUS_PG_DSN``; ``None`` leaves it to ``PG*``.

    Raises:
        InvalidValueError: It cannot be read.
    """
    return checked_dsn(dsn)


async def connect(dsn: str | None = None, **options: Any) -> Connection[Any]:
    """A connection of its own, outside any pool.

    Raises:
        InvalidValueError: The DSN cannot be read.
        DatabaseError: No connection could be had.
    """
    with _connecting(dsn):
        return await Connector(resolved_dsn(dsn)).connect(**options)


@contextmanager
def _connecting(dsn: str | None) -> Iterator[None]:
    with translated_errors(connecting=True):
        try:
            yield
        except asyncpg.ClientConfigurationError as error:
            raise InvalidValueError(
                "dsn",
                shown(resolved_dsn(dsn) or "(from the PG* variables)"),
                without_password(error.args[0]),
            ) from error


async def open_pool(
    dsn: str | None, *, timeout: float, pgbouncer: bool, **options: Any
) -> Pool[Any]:
    """A pool of our own, with asyncpg's ``options`` where ours don't suit.

    The server is told to end a statement a little before ``timeout`` seconds have passed, and soon
    after its client has gone; but for PgBouncer, which refuses what it does not know and shares its
    sessions: no statement is kept there either.

    Raises:
        InvalidValueError: The DSN cannot be read.
        DatabaseError: No connection could be had.
    """
    ours: dict[str, Any] = {**_POOL_DEFAULTS, "timeout": timeout}
    if given_hooks(options):
        del ours["reset"]  # asyncpg's own clears what a hook may have set for a session
    options = named_hooks(options)
    if pgbouncer:
        return await _opened(dsn, {**ours, "statement_cache_size": 0, **options})
    theirs = options.pop("server_settings", None) or {}
    limit = {"statement_timeout": str(int(timeout * 1000 * _SERVER_SHARE) + 1)}
    looking = {"client_connection_check_interval": _CHECK_INTERVAL}
    try:
        return await _opened(dsn, {**ours, **options, "server_settings": limit | looking | theirs})
    except RejectedError:
        pass  # a server that cannot look, as on Windows, lets nobody in who asks for it
    return await _opened(dsn, {**ours, **options, "server_settings": limit | theirs})


async def _opened(dsn: str | None, options: dict[str, Any]) -> Pool[Any]:
    resolved = resolved_dsn(dsn)
    with _connecting(dsn):
        pool: Pool[Any] = await asyncpg.create_pool(
            resolved, **options | {"connect": options.get("connect") or Connector(resolved).connect}
        )
        try:  # what is wrong with the DSN shows now
            async with asyncio.timeout(options["timeout"]), pool.acquire():
                return pool
        except BaseException:
            pool.terminate()
            raise


RELEASE_SECONDS = 0.5
"""Seconds for a connection to come to rest or to say goodbye, before it is given up."""


class _Connection(asyncpg.Connection):
    """One that is closed in bounded time, knows its age, and whether a caller had it.

    A pool closes its expired connections without a timeout (seen in asyncpg 0.32), and where the
    network is silent the socket, and the task that closes it, would stay for ever.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.opened_at = asyncio.get_running_loop().time()
        self._lent = False

    def lend(self) -> None:
        """Let a caller have it, who may leave something in its session."""
        self._lent = True

    async def reset_if_lent(self) -> None:
        """Clear its session, unless only we had it: we leave nothing in there.

        asyncpg would do that at each release, which is a round trip: without it asyncpg itself gets
        1.5 times as much.
        """
        if self._lent:
            self._lent = False
            await self.reset()
            # RESET ALL leaves these. Only pools without hooks come here: an init may set a role.
            await self.execute("RESET SESSION AUTHORIZATION; RESET ROLE")

    async def close(self, *, timeout: float | None = None) -> None:
        with suppress(TimeoutError):  # it is given up then
            await super().close(timeout=RELEASE_SECONDS if timeout is None else timeout)


# asyncpg's default of ten connections at once for each pool is a storm where tenants are many, and
# what it does to keep up a number of them may hold a slot for as long as a silent host takes. Its
# cache of statements stays: without it one caller puts 0.64 and gets 0.53 times as much; 64, who
# share statements, 0.88 and 0.97 times.
_POOL_DEFAULTS: dict[str, Any] = {
    "min_size": 0,
    "max_size": 10,
    "reset": _Connection.reset_if_lent,
    "connection_class": _Connection,
}

_SERVER_SHARE = 0.9  # of a deadline: the rest is for the way

# What a call gave up would else go on where it waits for a lock, and might be done much later.
_CHECK_INTERVAL = "1s"


def checked_pool(pool: Any, dsn: object, options: Mapping[str, Any]) -> None:
    """Refuse what is not a pool of asyncpg's, nor used like one, and what goes without one only."""
    if dsn is not None:
        raise InvalidValueError("pool", pool, "give a dsn or a pool, not both")
    if options:
        raise InvalidValueError(
            "pool", pool, f"{', '.join(sorted(options))} would be for a pool of our own"
        )
    if isinstance(pool, type) or not all(
        callable(getattr(pool, name, None)) for name in ("acquire", "release", "expire_connections")
    ):
        advice = "give a pool of asyncpg's: pool = await asyncpg.create_pool(dsn)"
        if isinstance(pool, asyncpg.Connection):
            advice += "; one connection goes to storage.using(connection)"
        raise InvalidTypeError("pool", pool, advice)


async def usable_pool(pool: Pool[Any]) -> Pool[Any]:
    """The pool of the user's, when it can be used in the running event loop."""
    loop = asyncio.get_running_loop()
    if getattr(pool, "_loop", loop) is not loop:
        raise InvalidValueError("pool", pool, "make it in the event loop that uses it")
    if not getattr(pool, "_initialized", True) and not pool.is_closing():
        raise InvalidValueError("pool", pool, "await it first: pool = await asyncpg.create_pool(…)")
    return pool
