"""Opening connections and pools."""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import asyncpg

from hephaestus_pg.driver_errors import DRIVER_ERRORS, translated_errors, without_password
from hephaestus_pg.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpg import Connection, Pool

__all__ = [
    "DRIVER_ERRORS",
    "RELEASE_SECONDS",
    "connect",
    "open_pool",
    "resolved_dsn",
    "translated_errors",
    "without_password",
]


def resolved_dsn(dsn: str | None) -> str | None:
    """The DSN to use: the one given, else ``HEPHAESTUS_PG_DSN``; ``None`` leaves it to ``PG*``."""
    return dsn or os.environ.get("HEPHAESTUS_PG_DSN") or None


async def connect(dsn: str | None = None, **options: Any) -> Connection[Any]:
    """A connection of its own, outside any pool.

    Raises:
        InvalidValueError: The DSN cannot be read.
        DatabaseError: No connection could be had.
    """
    with _connecting(dsn):
        return await _connect_to_any(resolved_dsn(dsn), **options)


@contextmanager
def _connecting(dsn: str | None) -> Iterator[None]:
    with translated_errors(connecting=True):
        try:
            yield
        except ssl.CertificateError:  # a ValueError, but not for what the DSN says
            raise
        except ValueError as error:
            # What is no error of the driver's own may quote any part of what it could not read.
            known = isinstance(error, asyncpg.ClientConfigurationError)
            shown = without_password(resolved_dsn(dsn) or "(from the PG* variables)")
            advice = str(error) if known else "give postgresql://user@host:port/database"
            raise InvalidValueError("dsn", shown, advice) from None


async def open_pool(
    dsn: str | None, *, timeout: float, pgbouncer: bool, **options: Any
) -> Pool[Any]:
    """A pool of our own, with asyncpg's ``options`` where ours don't suit.

    The server is told to end a statement a little before ``timeout`` seconds have passed, but for
    PgBouncer, which refuses what it does not know and shares its sessions: no statement is kept
    there either.

    Raises:
        InvalidValueError: The DSN cannot be read.
        DatabaseError: No connection could be had.
    """
    resolved = resolved_dsn(dsn)
    ours: dict[str, Any] = {**_POOL_DEFAULTS, "connect": partial(_connect_to_any, resolved)}
    if pgbouncer:
        ours["statement_cache_size"] = 0
    else:
        limit = {"statement_timeout": str(int(timeout * 1000 * _SERVER_SHARE) + 1)}
        options["server_settings"] = limit | options.get("server_settings", {})
    with _connecting(dsn):
        pool: Pool[Any] = await asyncpg.create_pool(
            resolved, timeout=timeout, **{**ours, **options}
        )
        try:  # what is wrong with the DSN shows now
            async with asyncio.timeout(timeout), pool.acquire():
                return pool
        except BaseException:
            pool.terminate()
            raise


RELEASE_SECONDS = 0.5
"""Seconds for a connection to come to rest or to say goodbye, before it is given up."""


class _Connection(asyncpg.Connection):
    """One that is closed in bounded time.

    A pool closes its expired connections without a timeout (seen in asyncpg 0.32), and where the
    network is silent the socket, and the task that closes it, would stay for ever.
    """

    async def close(self, *, timeout: float | None = None) -> None:
        with suppress(TimeoutError):  # it is given up then
            await super().close(timeout=RELEASE_SECONDS if timeout is None else timeout)


async def _keep_session(_: Any) -> None:
    """Instead of asyncpg's reset, a round trip at each release: we leave nothing in a session.

    asyncpg itself gets 1.5 times as much without it.
    """


# asyncpg's default of ten connections at once for each pool is a storm where tenants are many, and
# what it does to keep up a number of them may hold a slot for as long as a silent host takes. Its
# cache of statements stays: without it one caller puts 0.64 and gets 0.53 times as much; 64, who
# share statements, 0.88 and 0.97 times.
_POOL_DEFAULTS: dict[str, Any] = {
    "min_size": 0,
    "max_size": 10,
    "reset": _keep_session,
    "connection_class": _Connection,
}

_SERVER_SHARE = 0.9  # of a deadline: the rest is for the way

HOST_SECONDS = 5.0
"""Seconds that each host of a DSN with several has to answer."""


async def _connect_to_any(dsn: str | None, *_: Any, **options: Any) -> Connection[Any]:
    """A connection to the first host of the DSN that will have us, of several to the primary.

    asyncpg gives all hosts one deadline, so that a silent first one uses it up, and ends at once
    when the first is shutting down or full (MagicStack/asyncpg#1155 and the like): so each host is
    tried by itself. A preference among hosts needs them all, and is left to asyncpg.
    """
    hosts = _single_hosts(dsn)
    wanted = options.get("target_session_attrs") or _setting(
        dsn, "target_session_attrs", "PGTARGETSESSIONATTRS"
    )
    if not wanted and (len(hosts) > 1 or "," in _setting(dsn, "host", "PGHOST")):
        # libpq would take any: then reads might go to a standby, which lags behind.
        options["target_session_attrs"] = "read-write"
    if len(hosts) == 1 or "prefer" in str(wanted):
        opened: Connection[Any] = await asyncpg.connect(dsn, **options)
        return opened
    *others, last = hosts
    for host in others:
        try:
            return await _connect_to_any(host, **{**options, "timeout": HOST_SECONDS})
        except DRIVER_ERRORS:  # the last one's counts
            continue
    return await _connect_to_any(last, **{**options, "timeout": HOST_SECONDS})


def _single_hosts(dsn: str | None) -> list[str | None]:
    """The DSN once for each of its hosts."""
    if dsn is None:
        return [None]
    parts = urlsplit(dsn)
    user, at, hosts = parts.netloc.rpartition("@")
    return [parts._replace(netloc=f"{user}{at}{host}").geturl() for host in hosts.split(",")]


def _setting(dsn: str | None, name: str, variable: str) -> str:
    """What the DSN's query says, or else the environment."""
    given = dict(parse_qsl(urlsplit(dsn or "").query))
    return given.get(name) or os.environ.get(variable, "")
