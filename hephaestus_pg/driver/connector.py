"""Connecting to the host that a DSN names, or to one of several."""

from __future__ import annotations

import asyncio
import math
import os
import random
import re
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg.driver.connect_errors import connect_error, host_timeout_error, no_answer
from hephaestus_pg.driver.connection import terminate
from hephaestus_pg.driver.errors import DRIVER_ERRORS, translated_errors
from hephaestus_pg.driver.happy_eyeballs import first_to_connect
from hephaestus_pg.driver.keepalive import set_keepalive
from hephaestus_pg.dsn.masking import mask_dsn, without_password
from hephaestus_pg.dsn.parameters import refused_setting
from hephaestus_pg.dsn.passfile import stored_password
from hephaestus_pg.dsn.target import checked_dsn, resolve
from hephaestus_pg.errors import DatabaseError, InvalidValueError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpg import Connection

    from hephaestus_pg.dsn.target import Target

HOST_SECONDS = 5.0
"""Seconds that each of several hosts has to answer; of a shorter timeout, each has its share."""

# Settings that this package gives too; those of the DSN take precedence.
_OUR_SETTINGS = {
    "statement_timeout",
    "client_connection_check_interval",
    "citus.override_table_visibility",
}


async def connect(dsn: str | None = None, **options: Any) -> Connection[Any]:
    """Opens a connection outside any pool.

    Raises:
        InvalidValueError: The DSN cannot be read.
        DatabaseError: No connection could be had.
    """
    with connecting_errors(dsn):
        return await Connector(checked_dsn(dsn)).connect(**options)


@contextmanager
def connecting_errors(dsn: str | None) -> Iterator[None]:
    """Translates the driver's errors from the block, in which connections are opened."""
    with translated_errors(connecting=True):
        try:
            yield
        except asyncpg.ClientConfigurationError as error:
            raise InvalidValueError(
                "dsn",
                mask_dsn(checked_dsn(dsn) or "(from the PG* variables)"),
                without_password(error.args[0]),
            ) from error


class Connector:
    """Connects to the DSN's host, or to the primary among several.

    asyncpg gives all hosts one deadline, so that a silent one uses it up, and stops at the first
    host that is shutting down or full (MagicStack/asyncpg#1155 and the like). So each host is tried
    by itself here, beginning with the one that answered last.
    """

    def __init__(self, dsn: str | None) -> None:
        self._dsn = dsn
        self._target: Target | None = None
        self._last: tuple[str, int] | None = None

    async def connect(self, *_: Any, **options: Any) -> Connection[Any]:
        """Opens a connection; a pool passes the same ``options`` each time."""
        if self._target is None:
            self._target = resolve(self._dsn, options)
        where = self._target
        options = _merged(where, options)
        if len(where.hosts) > 1:
            return await self._connect_to_several(where, options)
        if where.session:
            options["target_session_attrs"] = where.session
        limit = where.connect_timeout
        final = limit is None or options.get("timeout", math.inf) <= limit
        if not final:
            options["timeout"] = limit
        return await self._connect_to(where.hosts[0] if where.hosts else None, options, final=final)

    async def _connect_to_several(self, where: Target, options: dict[str, Any]) -> Connection[Any]:
        hosts = list(where.hosts)
        if where.shuffled:
            random.shuffle(hosts)
        else:
            # The sort is stable: the others keep their order.
            hosts.sort(key=lambda host: host != self._last)
        each = where.connect_timeout or HOST_SECONDS
        options["timeout"] = min(each, (options.get("timeout") or each * len(hosts)) / len(hosts))
        # libpq's default is any: then reads might go to a standby, which lags behind.
        wanted = where.session or "read-write"
        unmatched: list[Exception] = []
        if wanted == "prefer-standby":
            try:
                return await self._connect_to_first(hosts, options, "standby", unmatched)
            except DatabaseError:
                return await self._connect_to_first(hosts, options, "any", unmatched)
        try:
            return await self._connect_to_first(hosts, options, wanted, unmatched)
        except UnavailableError:
            # A primary may refuse writes by a setting: reads can go on there, and the error of a
            # write will name the setting.
            if where.session or not unmatched:
                raise
            return await self._connect_to_first(hosts, options, "primary", unmatched)

    async def _connect_to_first(
        self,
        hosts: list[tuple[str, int]],
        options: dict[str, Any],
        wanted: str,
        unmatched: list[Exception],
    ) -> Connection[Any]:
        """Connects to the first host of the ``wanted`` kind; adds the others to ``unmatched``."""
        options = {**options, "target_session_attrs": wanted}

        async def attempt(host: tuple[str, int]) -> Connection[Any]:
            try:
                return await self._connect_to(host, options, final=False)
            except UnavailableError as error:
                cause = error.__cause__
                if isinstance(cause, asyncpg.TargetServerAttributeNotMatched):
                    unmatched.append(cause)
                raise

        index, opened = await first_to_connect(
            [partial(attempt, host) for host in hosts], discard=terminate
        )
        self._last = hosts[index]
        return opened

    async def _connect_to(
        self, host: tuple[str, int] | None, options: dict[str, Any], *, final: bool
    ) -> Connection[Any]:
        """Connects to a host; ``None`` is the server on this machine.

        ``final`` says that the timeout is the caller's, so that no time is left for another try.
        """
        assert self._target is not None
        place = "the server on this machine" if host is None else f"{host[0]}:{host[1]}"
        if host is not None:
            options = {**options, "host": host[0], "port": host[1]}
        if "password" not in options and not os.environ.get("PGPASSWORD"):
            options = {**options, "password": stored_password(options)}
        try:
            opened: Connection[Any] = await asyncpg.connect(self._target.dsn, **options)
        except asyncpg.ClientConfigurationError:  # the same for every host
            raise
        except asyncio.CancelledError as error:
            error.add_note(no_answer(place))  # a deadline may have cancelled, and shows the note
            raise
        except TimeoutError as error:
            # One with a number is the system's, which may have given up earlier.
            raise host_timeout_error(place, final=final and error.errno is None) from error
        except DRIVER_ERRORS as error:
            self._raise_if_setting(error)
            named = options.get("database") or os.environ.get("PGDATABASE")
            raise connect_error(error, place, named_database=bool(named)) from error
        set_keepalive(opened, self._target.socket)
        return opened

    def _raise_if_setting(self, error: Exception) -> None:
        """Refuses the setting of the DSN that the server or PgBouncer complains of, if it is one.

        Raises:
            InvalidValueError: It refuses a setting.
        """
        assert self._target is not None
        code, said = getattr(error, "sqlstate", None), without_password(str(error))
        for name, parameter in self._target.settings.items():
            # The message may be in any language, but holds the name.
            if code in _ABOUT_SETTINGS and re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", said):
                raise refused_setting(name, parameter, said, code) from error


APPLICATION_NAME = "hephaestus_pg"
"""The name by which the server shows a connection that was given none."""

# The setting is unknown, its value is wrong, it cannot be changed now, or not by this role; then
# the code for whatever PgBouncer refuses.
_ABOUT_SETTINGS = {"42704", "22023", "55P02", "42501", "08P01"}


def _merged(where: Target, options: dict[str, Any]) -> dict[str, Any]:
    """Returns options for asyncpg: the target's, and those given that it does not replace."""
    options = {name: value for name, value in options.items() if value is not None}
    for name in ("host", "port", "service", "servicefile"):
        options.pop(name, None)
    if isinstance(options.get("ssl"), str):
        del options["ssl"]
    given = {name: parameter.value for name, parameter in where.settings.items()}
    ours = {name: given[name] for name in _OUR_SETTINGS & given.keys()}
    theirs = options.pop("server_settings", {})
    settings = {"application_name": APPLICATION_NAME, **given, **theirs, **ours}
    return {**where.options, **options, "server_settings": settings}
