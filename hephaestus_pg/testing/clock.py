"""The clock of leases, due times and backoff, which is the server's, to be moved by tests."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from hephaestus_pg import _sql, registry
from hephaestus_pg._checks import is_number
from hephaestus_pg.codec.timestamps import parse_due
from hephaestus_pg.driver.connection import checked_connection
from hephaestus_pg.driver.errors import translated_errors
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError, LifecycleError
from hephaestus_pg.storage import AsyncStorage

if TYPE_CHECKING:
    from datetime import datetime

    from hephaestus_pg.driver.errors import AnyConnection

LONGEST = timedelta(days=36_525)
"""The longest step: dates beyond the year 9999 would be none that Python knows."""

_MICROSECOND = timedelta(microseconds=1)


async def install(connection: AnyConnection) -> None:
    """Installs the clock in the connection's database, at the machine's time; again, sets it back.

    It moves ``now()`` and ``statement_timestamp()`` for sessions of the connection's role that
    begin later, by a schema ``hephaestus_clock`` in their ``search_path``. The role owns the
    database, or may create schemas in it. A database for tests alone: there is no way to remove it
    but ``DROP SCHEMA hephaestus_clock CASCADE`` and ``ALTER ROLE … RESET search_path``.

    Raises:
        InvalidTypeError: It is no connection of asyncpg.
        AccessDeniedError: The role may not create a schema.
    """
    with translated_errors():
        async with checked_connection(connection).transaction():
            await connection.execute(_text("clock_install", "public"))


class Clock:
    """The clock of a storage's server, which only tests move, and only forward.

    It goes on by itself, and is that of the whole database. Runners of this process live on,
    however far it is moved, as if their heartbeats had come meanwhile; the lease of any other runs
    out. Everything that waits for a due time here looks at once, in other processes within a
    second. In a transaction that is open meanwhile the next statement sees the moved clock.
    """

    def __init__(self, storage: AsyncStorage) -> None:
        if not isinstance(storage, AsyncStorage):
            raise InvalidTypeError("storage", storage, "give a started storage")
        self._storage = storage

    async def now(self) -> datetime:
        """The moment by this clock, from which due times are computed.

        Raises:
            LifecycleError: The clock is not installed.
        """
        async with self._storage.transaction() as transaction:
            return await self._now(transaction.connection)

    async def advance(self, seconds: float | timedelta) -> None:
        """Moves it on.

        Raises:
            InvalidValueError: It is no step forward, or longer than a hundred years.
            LifecycleError: The clock is not installed.
        """
        await self._move(str(_microseconds(seconds)))

    async def reset(self) -> None:
        """Sets it to the machine's time: between tests, since leases that have ended last again."""
        await self._move(None)

    async def _now(self, connection: AnyConnection) -> datetime:
        [row] = await fetch_rows(connection, _text("clock_now", "public"), ())
        now = parse_due(row["now"])
        assert now is not None
        if row["is_moved"] != "true":
            name = self._storage.name
            raise LifecycleError(
                name,
                f"the clock of the storage {name!r} cannot be moved: run `await clock.install("
                "connection)` of hephaestus_pg.testing in its database, as its role, before it "
                "starts; where its sessions set a search_path of their own, end that with "
                "hephaestus_clock, pg_catalog",
            )
        return now

    async def _move(self, microseconds: str | None) -> None:
        storages = [registry.find(name, AsyncStorage) for name in registry.names()]
        runners = [runner for storage in storages for runner in storage._runners]
        living = [str(runner.token) for runner in runners if runner.is_alive]
        async with self._storage.transaction() as transaction:
            connection = transaction.connection
            await self._now(connection)
            for schema in sorted({storage.schema for storage in storages}):
                table = f'"{schema}".workflow_runners'
                # Another storage may be of another database.
                if await connection.fetchval("SELECT to_regclass($1::text) IS NOT NULL", table):
                    await connection.execute(_text("clock_lock", schema))
                    text = _text("clock_leases", schema)
                    await connection.execute(text, microseconds, living)
            await connection.execute(_text("clock_move", "public"), microseconds)
        for runner in runners:
            runner.look_at_once()


def _microseconds(seconds: float | timedelta) -> int:
    if not (is_number(seconds) or isinstance(seconds, timedelta)):
        raise InvalidTypeError("seconds", seconds, "give a number of seconds, or a timedelta")
    step = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
    if not 0 <= step <= LONGEST.total_seconds():  # neither is NaN
        raise InvalidValueError(
            "seconds", seconds, "the clock moves forward only, by a hundred years at the most"
        )
    if isinstance(seconds, timedelta):
        return seconds // _MICROSECOND
    return round(seconds * 1_000_000)


@cache
def _text(name: str, schema: str) -> str:
    path = _sql.root() / "testing" / f"{name}.sql"
    return _sql.rendered(path.read_text(encoding="utf-8"), schema)
