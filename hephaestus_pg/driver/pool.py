"""The pool: one of our own, opened with defaults of ours, or one of the user's, checked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg.driver.connection import MAX_TEXTS, PooledConnection, terminate
from hephaestus_pg.driver.connector import Connector, connecting_errors
from hephaestus_pg.driver.hooks import option_hooks, wrap_hooks
from hephaestus_pg.driver.pool_options import MAX_SIZE
from hephaestus_pg.dsn.target import checked_dsn
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError, RejectedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncpg import Connection, Pool

# asyncpg opens ten connections at once: too many where tenants are many; and while it restores
# min_size, a silent host blocks a slot. Its statement cache stays on: without it one caller puts
# 0.64 and gets 0.53 times as much; 64 callers, who share statements, 0.88 and 0.97. With a thousand
# schemas on ten connections, one of a hundred statements also took more of the server's memory than
# one of a thousand: no connection kept to some of the schemas.
_DEFAULTS: dict[str, Any] = {
    "min_size": 0,
    "max_size": MAX_SIZE,
    "statement_cache_size": MAX_TEXTS,
    "reset": PooledConnection.reset_if_lent,
    "connection_class": PooledConnection,
}

_SERVER_SHARE = 0.9  # of a timeout: the rest is for the way there and back

# A call that was given up would otherwise wait on for its lock, and might be done much later.
_CHECK_INTERVAL = "1s"

# Citus's filter of the catalog makes the look of asyncpg at what an array is take most of a second
# on each new connection: 690 ms, without it 9. Elsewhere the name means nothing.
_VISIBILITY = {"citus.override_table_visibility": "off"}


async def open_pool(
    dsn: str | None, *, timeout: float, pgbouncer: bool, **options: Any
) -> Pool[Any]:
    """Opens a pool of our own; ``options`` are asyncpg's and take precedence over our defaults.

    The server is told to end a statement shortly before ``timeout`` seconds have passed, and soon
    after its client has gone. PgBouncer is not: it refuses settings that it does not know, and its
    sessions are shared, for which reason no prepared statement is kept there either.

    Raises:
        InvalidValueError: The DSN cannot be read.
        DatabaseError: No connection could be had.
    """
    ours: dict[str, Any] = {**_DEFAULTS, "timeout": timeout}
    if option_hooks(options):
        del ours["reset"]  # asyncpg's own clears what a hook may have set for a session
    options = wrap_hooks(options)
    if pgbouncer:
        return await _open(dsn, {**ours, "statement_cache_size": 0, **options})
    theirs = options.pop("server_settings", None) or {}
    limit = {"statement_timeout": str(int(timeout * 1000 * _SERVER_SHARE) + 1)}
    check = {"client_connection_check_interval": _CHECK_INTERVAL}
    try:
        settings = limit | check | _VISIBILITY | theirs
        return await _open(dsn, {**ours, **options, "server_settings": settings})
    except RejectedError:
        pass  # a server on Windows cannot check for its client, and refuses the setting
    return await _open(dsn, {**ours, **options, "server_settings": limit | theirs})


async def _open(dsn: str | None, options: dict[str, Any]) -> Pool[Any]:
    dsn = checked_dsn(dsn)
    with connecting_errors(dsn):
        pool: Pool[Any] = await asyncpg.create_pool(
            dsn, **options | {"connect": options.get("connect") or Connector(dsn).connect}
        )
        try:  # an error in the DSN shows now, not at the first call
            async with asyncio.timeout(options["timeout"]), pool.acquire():
                return pool
        except BaseException:
            pool.terminate()
            raise


def checked_pool(pool: Any, dsn: object, options: Mapping[str, Any]) -> None:
    """Refuses a user's pool that is none of asyncpg's, and arguments that exclude one.

    Raises:
        InvalidTypeError: It is no pool.
        InvalidValueError: There is a DSN too, or an option for a pool of our own.
    """
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


async def connect_beside(pool: Pool[Any]) -> Connection[Any]:
    """Opens a connection like those of ``pool``, but none of it, in the running event loop."""
    given: Any = pool  # asyncpg has no other way to what it was given
    opened: Connection[Any] = await given._connect(  # noqa: SLF001
        *given._connect_args,  # noqa: SLF001
        loop=asyncio.get_running_loop(),
        connection_class=given._connection_class,  # noqa: SLF001
        record_class=given._record_class,  # noqa: SLF001
        **given._connect_kwargs,  # noqa: SLF001
    )
    try:
        if given._init is not None:  # noqa: SLF001
            await given._init(opened)  # noqa: SLF001
    except BaseException:
        terminate(opened)
        raise
    return opened


async def usable_pool(pool: Pool[Any]) -> Pool[Any]:
    """Returns a user's pool if it can be used in the running event loop.

    Raises:
        InvalidValueError: It belongs to another event loop, or has not been awaited.
    """
    loop = asyncio.get_running_loop()
    if getattr(pool, "_loop", loop) is not loop:
        raise InvalidValueError("pool", pool, "make it in the event loop that uses it")
    if not getattr(pool, "_initialized", True) and not pool.is_closing():
        raise InvalidValueError("pool", pool, "await it first: pool = await asyncpg.create_pool(…)")
    return pool
