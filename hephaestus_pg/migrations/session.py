"""A connection that holds a schema's lock: its settings, its transactions, and their retries."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from hephaestus_pg import _sql
from hephaestus_pg._checks import is_number
from hephaestus_pg.driver.connection import clean_up
from hephaestus_pg.driver.errors import translated_errors
from hephaestus_pg.errors import (
    ConflictError,
    InvalidTypeError,
    InvalidValueError,
    MigrationLockError,
    RejectedError,
)
from hephaestus_pg.migrations.connections import CLEANUP_SECONDS, check_connection, connected
from hephaestus_pg.migrations.state import read_state, table_size
from hephaestus_pg.migrations.waits import Wait, is_conflict, is_race

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.migrations.state import SchemaState

T = TypeVar("T")

# A statement that waits for a table's lock makes every later reader and writer wait behind it.
LOCK_TIMEOUT = "500ms"

LONGEST_STEP = 1_000_000.0
"""Seconds that a statement may take, eleven days: without any, asyncpg takes those of the
connection's ``command_timeout``."""

# Only a command of the transaction takes a setting to the worker nodes, where locks are held too.
# Shards have their turn one by one, since no function can be dropped after a parallel change.
_ON_CITUS = (
    "SET LOCAL citus.propagate_set_commands = 'local'; "
    f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; "
    "SET LOCAL citus.multi_shard_modify_mode = 'sequential'"
)

_MAX_RACES = 20  # retries because another program made the same thing in the same moment


def checked_wait(wait: Any) -> float:
    """Returns the seconds that a run may wait for a lock, from 0 on.

    Raises:
        InvalidTypeError: It is not a number.
        InvalidValueError: It is below 0, or NaN, with which the wait would have no end.
    """
    if not is_number(wait):
        raise InvalidTypeError("wait", wait, "give a number of seconds")
    if not wait >= 0:
        raise InvalidValueError("wait", wait, "give seconds from 0 on")
    return wait


@asynccontextmanager
async def migrating(
    dsn: str | None, connection: AnyConnection | None, schema: str, *, wait: float
) -> AsyncIterator[MigrationSession]:
    """Connects, or takes the caller's connection, and holds the schema's lock in the block.

    Raises:
        InvalidValueError: The arguments make no sense, or the connection is in a transaction.
        MigrationError: Nothing can be changed over the connection.
        MigrationLockError: Another process had the lock for all of ``wait`` seconds.
    """
    seconds = checked_wait(wait)
    async with (
        connected(dsn, connection, schema) as opened,
        MigrationSession.opened(opened, schema, wait=seconds) as session,
    ):
        yield session


class MigrationSession:
    """A connection that holds the lock of one schema."""

    def __init__(
        self, connection: AnyConnection, schema: str, *, wait: float, on_citus: bool = False
    ) -> None:
        self.connection = connection
        self.schema = schema
        self._wait = wait
        self._on_citus = on_citus

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, connection: AnyConnection, schema: str, *, wait: float
    ) -> AsyncIterator[MigrationSession]:
        """Holds the schema's lock, and the settings that a migration needs, in the block.

        Raises:
            InvalidValueError: The connection is in a transaction.
            MigrationError: Nothing can be changed over the connection.
            MigrationLockError: Another process had the lock for all of ``wait`` seconds.
        """
        on_citus = await check_connection(connection, schema)
        session = cls(connection, schema, wait=wait, on_citus=on_citus)
        async with (
            session._locked(),
            session.settings(
                lock_timeout=LOCK_TIMEOUT,
                statement_timeout="0",
                idle_in_transaction_session_timeout="0",
                transaction_timeout="0",
                # An error, rather than a step that counts, copies or drops but what a policy shows.
                row_security="off",
                # A chunk's key is a parameter that may be NULL: a plan for both scans the table.
                plan_cache_mode="force_custom_plan",
            ),
        ):
            yield session

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        wait = self.waiting(advisory=True)
        while not await self._try_lock():
            if wait.is_over:
                raise MigrationLockError(
                    self.schema,
                    f"another process has been migrating schema {self.schema!r} for "
                    f"{self._wait:g} s: {await wait.holders()}; let it end, or end its session "
                    "(pg_locks, locktype 'advisory'), and run again",
                )
            await wait.pause()
        try:
            yield
        finally:
            await self._clean_up(_sql.statement("migrations_unlock", self.schema))

    async def _try_lock(self) -> bool:
        try:
            has_it = await self.connection.fetchval(_sql.statement("migrations_lock", self.schema))
        except asyncio.CancelledError:  # it may have come all the same, and would stay
            await self._clean_up(_sql.statement("migrations_unlock", self.schema))
            raise
        return bool(has_it)

    @asynccontextmanager
    async def settings(self, **wanted: str) -> AsyncIterator[None]:
        """Changes settings of the connection in the block, and puts them back after it."""
        names, change = list(wanted), _sql.statement("migrations_set", self.schema)
        before = await self.connection.fetch(
            _sql.statement("migrations_settings", self.schema), names
        )
        try:
            await self.connection.execute(change, names, list(wanted.values()))
            yield
        finally:
            await self._clean_up(change, names, [row["value"] for row in before])

    async def _clean_up(self, text: str, *arguments: Any) -> None:
        if not self.connection.is_closed():
            await clean_up(
                self.connection,
                lambda: self.connection.execute(text, *arguments),
                seconds=CLEANUP_SECONDS,
            )

    async def read_state(self, *, assume_version: int | None = None) -> SchemaState:
        """Reads the schema; waits, as its steps do, for whoever lets nobody read a table."""
        return await self.retrying(
            lambda: read_state(self.connection, self.schema, assume_version=assume_version)
        )

    async def table_size(self, state: SchemaState) -> int:
        """Returns the table's bytes, without its indexes; waits as :meth:`read_state` does."""
        return await self.retrying(lambda: table_size(self.connection, state))

    async def execute(self, text: str) -> None:
        """Runs the statements of ``text``, set to the schema.

        With Citus one by one: of a table that it has distributed, it takes no text of several.
        """
        text = _sql.rendered(text, self.schema)
        for part in _sql.split(text) if self._on_citus else [text]:
            await self.connection.execute(part, timeout=LONGEST_STEP)

    def waiting(self, *, advisory: bool = False) -> Wait:
        """Begins a wait for the locks of the tables, or for the lock of the migrations."""
        return Wait(
            self.connection,
            self.schema,
            seconds=self._wait,
            advisory=advisory,
            on_citus=self._on_citus,
        )

    async def transaction(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does ``work`` in a transaction of its own; see :meth:`retrying` for when again.

        Raises:
            MigrationLockError: Others held the locks for all of the session's ``wait`` seconds.
        """

        async def once() -> T:
            transaction = self.connection.transaction()
            await transaction.__aenter__()
            try:
                if self._on_citus:
                    await self.connection.execute(_ON_CITUS)
                result = await work()
            except BaseException as error:
                of = type(error), error, error.__traceback__
                await clean_up(
                    self.connection, lambda: transaction.__aexit__(*of), seconds=CLEANUP_SECONDS
                )
                raise
            await transaction.__aexit__(None, None, None)
            return result

        return await self.retrying(once)

    async def retrying(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does ``work``, again while others hold the locks it needs or make the same thing.

        Raises:
            MigrationLockError: They held them for all of the session's ``wait`` seconds.
        """
        wait = self.waiting()
        races = 0
        while True:
            try:
                with translated_errors(connection=self.connection):
                    return await work()
            except (ConflictError, RejectedError) as error:
                if not is_conflict(error):
                    races += 1
                    if not is_race(error) or races > _MAX_RACES:
                        raise
                elif wait.is_over:
                    raise MigrationLockError(
                        self.schema,
                        f"the tables of schema {self.schema!r} were locked by others for "
                        f"{self._wait:g} s: {await wait.holders()}; end their long transactions "
                        "(pg_stat_activity) and run again: what is done stays done",
                    ) from error
            await wait.pause()
