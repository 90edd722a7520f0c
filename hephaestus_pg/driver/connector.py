"""A connection to the host that a DSN names, or to one of several."""

from __future__ import annotations

import asyncio
import math
import os
import random
import re
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg.driver.connect_errors import connecting_failed, silent, unanswered
from hephaestus_pg.driver.errors import DRIVER_ERRORS
from hephaestus_pg.dsn.hosts import first_of
from hephaestus_pg.dsn.parameters import refused_setting
from hephaestus_pg.dsn.target import target
from hephaestus_pg.dsn.text import without_password
from hephaestus_pg.errors import DatabaseError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncpg import Connection

    from hephaestus_pg.dsn.target import Target

HOST_SECONDS = 5.0
"""Seconds that each of several hosts has to answer at the most; of a shorter timeout, its share."""

# A setting of these in the DSN goes before that of open_pool.
_OUR_SETTINGS = {"statement_timeout", "client_connection_check_interval"}


class Connector:
    """Connects to a host of the DSN that will have us, of several to the primary.

    asyncpg gives all hosts one deadline, so that a silent first one uses it up, and ends at once
    when the first is shutting down or full (MagicStack/asyncpg#1155 and the like): so each host is
    tried by itself, and the one that answered last first.
    """

    def __init__(self, dsn: str | None) -> None:
        self._dsn = dsn
        self._target: Target | None = None
        self._last: tuple[str, int] | None = None

    async def connect(self, *_: Any, **options: Any) -> Connection[Any]:
        """A connection; of a pool the ``options`` are the same each time."""
        if self._target is None:
            self._target = target(self._dsn, options)
        where = self._target
        options = {name: value for name, value in options.items() if value is not None}
        for name in ("host", "port", "service", "servicefile"):  # in the target already
            options.pop(name, None)
        if isinstance(options.get("ssl"), str):
            del options["ssl"]  # likewise
        given = {name: parameter.value for name, parameter in where.settings.items()}
        ours = {name: given[name] for name in _OUR_SETTINGS & given.keys()}
        if settings := {**given, **options.pop("server_settings", {}), **ours}:
            options["server_settings"] = settings
        options = {**where.options, **options}
        if len(where.hosts) > 1:
            return await self._of_several(where, options)
        if where.session:
            options["target_session_attrs"] = where.session
        limit = where.connect_timeout
        final = limit is None or options.get("timeout", math.inf) <= limit
        if not final:
            options["timeout"] = limit
        return await self._one(where.hosts[0] if where.hosts else None, options, final=final)

    async def _of_several(self, where: Target, options: dict[str, Any]) -> Connection[Any]:
        hosts = list(where.hosts)
        if where.shuffled:
            random.shuffle(hosts)
        else:
            # The sort is stable: the others keep their order.
            hosts.sort(key=lambda host: host != self._last)
        each = where.connect_timeout or HOST_SECONDS
        options["timeout"] = min(each, (options.get("timeout") or each * len(hosts)) / len(hosts))
        # libpq would take any: then reads might go to a standby, which lags behind.
        wanted = where.session or "read-write"
        unmatched: list[Exception] = []
        if wanted == "prefer-standby":
            try:
                return await self._first(hosts, options, "standby", unmatched)
            except DatabaseError:
                return await self._first(hosts, options, "any", unmatched)
        try:
            return await self._first(hosts, options, wanted, unmatched)
        except UnavailableError:
            # A primary may refuse writes by a setting of its own: what only reads goes on there,
            # and a write is told of the setting.
            if where.session or not unmatched:
                raise
            return await self._first(hosts, options, "primary", unmatched)

    async def _first(
        self,
        hosts: list[tuple[str, int]],
        options: dict[str, Any],
        wanted: str,
        unmatched: list[Exception],
    ) -> Connection[Any]:
        """The first connection to be had; ``unmatched`` is told of servers of another sort."""
        options = {**options, "target_session_attrs": wanted}

        async def one(host: tuple[str, int]) -> Connection[Any]:
            try:
                return await self._one(host, options, final=False)
            except UnavailableError as error:
                cause = error.__cause__
                if isinstance(cause, asyncpg.TargetServerAttributeNotMatched):
                    unmatched.append(cause)
                raise

        index, opened = await first_of(
            [partial(one, host) for host in hosts],
            unwanted=lambda connection: connection.terminate(),
        )
        self._last = hosts[index]
        return opened

    async def _one(
        self, host: tuple[str, int] | None, options: dict[str, Any], *, final: bool
    ) -> Connection[Any]:
        """A connection to that host, or to the server on this machine.

        ``final``: its time is the caller's, so that no other try may find it.
        """
        assert self._target is not None
        place = "the server on this machine" if host is None else f"{host[0]}:{host[1]}"
        address = {} if host is None else {"host": host[0], "port": host[1]}
        try:
            opened: Connection[Any] = await asyncpg.connect(
                self._target.dsn, **{**options, **address}
            )
        except asyncpg.ClientConfigurationError:  # no host can mend it
            raise
        except asyncio.CancelledError as error:
            error.add_note(unanswered(place))  # for whose deadline this may be
            raise
        except TimeoutError as error:
            # The system may have given up on it earlier.
            raise silent(place, final=final and error.errno is None) from error
        except DRIVER_ERRORS as error:
            self._raise_if_setting(error)
            named = options.get("database") or os.environ.get("PGDATABASE")
            raise connecting_failed(error, place, named_database=bool(named)) from error
        _keep_alive(opened, self._target.socket)
        return opened

    def _raise_if_setting(self, error: Exception) -> None:
        """Name the setting of the DSN that the server, or PgBouncer, refuses.

        Raises:
            InvalidValueError: It refused one.
        """
        assert self._target is not None
        code, said = getattr(error, "sqlstate", None), without_password(str(error))
        for name, parameter in self._target.settings.items():
            # The server may say it in any language, but that name.
            if code in _ABOUT_SETTINGS and re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", said):
                raise refused_setting(name, parameter, said, code) from error


# Unknown, of a wrong value, for the server or for others to set; then whatever PgBouncer refuses.
_ABOUT_SETTINGS = {"42704", "22023", "55P02", "42501", "08P01"}


def _keep_alive(connection: Any, wanted: Mapping[str, int]) -> None:
    """Set what ``keepalives`` and the like ask for, as far as the system has it."""
    raw: socket.socket | None = connection._transport.get_extra_info("socket")  # noqa: SLF001
    if not wanted or raw is None or raw.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    with raw.dup() as same:  # not every loop lets a transport's own be set
        same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, wanted.get("keepalives", 1))
        for name, option in _SOCKET_OPTIONS.items():
            if wanted.get(name, 0) > 0 and hasattr(socket, option):
                same.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), wanted[name])


_SOCKET_OPTIONS = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}
