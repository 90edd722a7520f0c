"""The one connection that migrates a schema: its lock, its patience, and how steps run on it."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import anyio

from hephaestus_pg import _sql
from hephaestus_pg.driver.connection import terminate
from hephaestus_pg.driver.connector import connect
from hephaestus_pg.driver.errors import DRIVER_ERRORS, translated_errors
from hephaestus_pg.errors import (
    ConflictError,
    DataLossError,
    InvalidValueError,
    MigrationError,
    MigrationLockError,
    RejectedError,
)
from hephaestus_pg.migrations.waits import Wait, is_race

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.migrations.files import Stage

T = TypeVar("T")

# A statement that waits for a table's lock makes every later reader and writer wait behind it.
LOCK_TIMEOUT = "500ms"
GOODBYE_SECONDS = 5.0
"""Seconds for the lock to be given back, a transaction to be rolled back, a connection to close."""

_RACES = 20  # tries of what another program may have made in the same moment

_SET = "SELECT set_config($1::text, $2::text, $3::boolean)"

# The guards in the .down files raise this; its hint is the flag that lifts the guard.
_DATA_LOSS = "YDL01"

logger = logging.getLogger("hephaestus_pg")


@asynccontextmanager
async def connected(
    dsn: str | None, connection: AnyConnection | None, schema: str
) -> AsyncIterator[AnyConnection]:
    """The caller's connection, or one of our own that ends with the block.

    Raises:
        InvalidValueError: No schema can have that name, or the DSN cannot be read; or there is a
            connection, and a DSN too.
    """
    _sql.checked_schema(schema)
    if connection is not None:
        if dsn is not None:
            raise InvalidValueError(
                "connection", connection, "give a dsn or a connection, not both"
            )
        with translated_errors(connection=connection):
            yield connection
        return
    # Every plan here is made once, for tables that change under it: nothing is worth caching.
    own = await connect(dsn, statement_cache_size=0)
    try:
        with translated_errors(connection=own):
            yield own
    finally:
        await _bounded(own, own.close)


async def _bounded(connection: AnyConnection, work: Callable[[], Awaitable[object]]) -> None:
    """Do ``work``, which leaves things in order, but do not wait for a server that is silent.

    Where it fails or the time passes the connection is ended, and what it left behind with it.
    """
    try:
        with anyio.CancelScope(shield=True):  # else anyio would cancel this wait as well
            async with asyncio.timeout(GOODBYE_SECONDS):
                await work()
    except BaseException as error:
        terminate(connection)
        if not isinstance(error, DRIVER_ERRORS):
            raise


class MigrationSession:
    """A connection that holds the lock of one schema."""

    def __init__(self, connection: AnyConnection, schema: str, *, wait: float) -> None:
        self.connection = connection
        self.schema = schema
        self._wait = wait

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, connection: AnyConnection, schema: str, *, wait: float
    ) -> AsyncIterator[MigrationSession]:
        """Take the schema's lock and make the connection's settings, for as long as the block runs.

        Raises:
            InvalidValueError: The connection is in a transaction.
            MigrationError: It goes through a pooler.
            MigrationLockError: Another process had the lock for all of ``wait`` seconds.
        """
        if connection.is_in_transaction():
            raise InvalidValueError(
                "connection", connection, "give one outside a transaction: each version is its own"
            )
        await _check_session(connection, schema)
        session = cls(connection, schema, wait=wait)
        async with (
            session._locked(),
            session._settings(
                lock_timeout=LOCK_TIMEOUT,
                statement_timeout="0",
                idle_in_transaction_session_timeout="0",
                # A slice's key is a parameter that may be NULL: a plan for both scans the table.
                plan_cache_mode="force_custom_plan",
            ),
        ):
            yield session

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        wait = Wait(self.connection, self.schema, seconds=self._wait, advisory=True)
        while not await self.connection.fetchval(_sql.statement("migrations_lock", self.schema)):
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
            await self._leave(_sql.statement("migrations_unlock", self.schema))

    @asynccontextmanager
    async def _settings(self, **wanted: str) -> AsyncIterator[None]:
        """Settings of the connection, which may be the caller's: put back as they were."""
        before = {name: await self._setting(name) for name in wanted}
        try:
            for name, value in wanted.items():
                await self._set(name, value)
            yield
        finally:
            for name, value in before.items():
                await self._leave(_SET, name, value, False)  # noqa: FBT003 - the query's parameter

    async def _leave(self, text: str, *arguments: Any) -> None:
        """Put something back, unless the connection is gone, and it with that."""
        if not self.connection.is_closed():
            await _bounded(self.connection, lambda: self.connection.execute(text, *arguments))

    async def _setting(self, name: str) -> str:
        value: str = await self.connection.fetchval("SELECT current_setting($1::text)", name)
        return value

    async def _set(self, name: str, value: str, *, local: bool = False) -> None:
        await self.connection.execute(_SET, name, value, local)

    async def transaction(self, work: Callable[[], Awaitable[T]]) -> T:
        """``work`` in a transaction of its own, again while others hold the locks it needs.

        Raises:
            MigrationLockError: They did for all of the session's ``wait`` seconds.
        """

        async def once() -> T:
            transaction = self.connection.transaction()
            await transaction.__aenter__()
            try:
                result = await work()
            except BaseException as error:
                of = type(error), error, error.__traceback__
                await _bounded(self.connection, lambda: transaction.__aexit__(*of))
                raise
            await transaction.__aexit__(None, None, None)
            return result

        return await self._patiently(once)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        wait = Wait(self.connection, self.schema, seconds=self._wait)
        races = 0
        while True:
            try:
                with translated_errors(connection=self.connection):
                    return await work()
            except ConflictError as error:
                if wait.is_over:
                    raise MigrationLockError(
                        self.schema,
                        f"the tables of schema {self.schema!r} were locked by others for "
                        f"{self._wait:g} s: {await wait.holders()}; end their long transactions "
                        "(pg_stat_activity) and run again: what is done stays done",
                    ) from error
            except RejectedError as error:
                races += 1
                if not is_race(error) or races > _RACES:
                    raise
            await wait.pause()

    async def stages(self, stages: Sequence[Stage], *, of: str) -> None:
        """Run the stages of something. All can be repeated: after a kill they begin anew."""
        await self._patiently(lambda: self._stages(stages, of))

    async def _stages(self, stages: Sequence[Stage], of: str) -> None:
        for number, stage in enumerate(stages, 1):
            logger.info("schema %s: %s, stage %d of %d", self.schema, of, number, len(stages))
            text = _sql.sent(stage.text, self.schema)
            if stage.kind == "transaction":
                await self.transaction(lambda text=text: self.connection.execute(text))  # type: ignore[misc]
            elif stage.kind == "slices":
                await self._slices(text)
            else:
                # It stops no reader and no writer, so it may wait for them.
                wait = Wait(self.connection, self.schema, seconds=self._wait)
                async with self._settings(lock_timeout="0"), wait.watched():
                    await self.connection.execute(text)

    async def _slices(self, text: str) -> None:
        key: Any = None
        while True:
            key = await self.transaction(lambda key=key: self.connection.fetchval(text, key))  # type: ignore[misc]
            if key is None:
                return

    async def run(
        self, steps: Sequence[tuple[str, Callable[[], Awaitable[None]]]], allow: Iterable[str] = ()
    ) -> list[Ran]:
        """Run each step's text and what follows it, all as one transaction.

        Raises:
            DataLossError: One would lose data, and ``allow`` does not name the loss.
        """
        notes: list[str] = []
        done: list[Ran] = []

        def listen(_: object, message: Any) -> None:
            if message.severity_en == "INFO":
                notes.append(message.message)

        async def work() -> None:
            done.clear()
            for name in allow:
                await self._set(f"hephaestus_pg.allow_{name}", "on", local=True)
            for text, then in steps:
                notes.clear()
                began = time.monotonic()
                await self.connection.execute(_sql.sent(text, self.schema))
                await then()
                done.append(Ran(time.monotonic() - began, tuple(notes)))

        self.connection.add_log_listener(listen)
        try:
            await self.transaction(work)
        except RejectedError as error:
            cause: Any = error.__cause__
            if getattr(cause, "sqlstate", None) != _DATA_LOSS:
                raise
            raise DataLossError(self.schema, cause.args[0], flag=cause.hint) from error
        finally:
            self.connection.remove_log_listener(listen)
        return done


class Ran(NamedTuple):
    """A step that was run: how long it took, and what it had to say (``RAISE INFO``)."""

    seconds: float
    notes: tuple[str, ...]


async def _check_session(connection: AnyConnection, schema: str) -> None:
    """Raise an error if nothing can be changed over the connection."""
    found: Any = await connection.fetchrow(_SESSION)
    # A pooler makes up the process ids that its clients see. What is set or locked through it lands
    # on whichever session comes, and would stay there for somebody else.
    if found["pid"] != connection.get_server_pid():
        raise MigrationError(
            schema,
            f"schema {schema!r} cannot be changed through a pooler, such as PgBouncer: the "
            "lock of a migration belongs to one session; connect to the server itself",
        )
    if found["standby"]:
        raise MigrationError(
            schema, f"schema {schema!r} cannot be changed on a standby; connect to the primary"
        )
    if found["read_only"] == "on":
        raise MigrationError(
            schema,
            f"schema {schema!r} cannot be changed: a setting of the role, the database or the "
            "connection makes every transaction read-only (default_transaction_read_only = on); "
            "migrate as another role, or set it to off for this one",
        )


_SESSION = """
    SELECT pg_backend_pid() AS pid, pg_is_in_recovery() AS standby,
        current_setting('transaction_read_only') AS read_only
"""
