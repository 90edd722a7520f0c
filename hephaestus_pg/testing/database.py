"""A migrated database for the tests of one process: created, emptied after each, dropped."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from uuid import uuid4

from hephaestus_pg import _sql, migrations
from hephaestus_pg.cli.terminal import printable, shortened
from hephaestus_pg.driver.connection import terminate
from hephaestus_pg.driver.connector import connect
from hephaestus_pg.driver.errors import translated_errors
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.errors import (
    AccessDeniedError,
    ConflictError,
    ConnectionLostError,
    RejectedError,
)
from hephaestus_pg.migrations.usable import Usable, check_usable
from hephaestus_pg.storage import AsyncStorage
from hephaestus_pg.testing import clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from asyncpg import Connection, Record

    from hephaestus_pg.testing.server import Server

T = TypeVar("T")

SCHEMA = "public"

CLOSE_SECONDS = 1.0
"""Seconds that a storage has to close after its test; then it loses its connections."""

_LOCK_MILLISECONDS = 200
"""Milliseconds that emptying waits for a writer before it ends the writer's session."""

_TRIES = 25

_READ_SECONDS = 2.0

_OTHER_ENCODING = "22023"
"""What the server says of UTF-8 where its template has another encoding, or a locale of one."""

_SETTINGS = {
    "application_name": "hephaestus_pg.testing",
    "lock_timeout": f"{_LOCK_MILLISECONDS}ms",
    "statement_timeout": "10s",
}

_ROWS_SHOWN = 20
_STATE_SHOWN = 400

# What another storage on the database needs to be told of it: nothing, but on Citus.
_PLAIN = Usable((), [])


class Database:
    """A database of its own on a server, with all migrations in its schema ``public``.

    What it does runs on a connection and an event loop of its own, also while another loop runs.
    """

    dsn: str
    """The DSN of the database, for ``AsyncStorage.start``, a pool, or an application's settings."""

    def __init__(self, server: Server, aside: _Aside) -> None:
        self._server = server
        self._aside = aside
        self._name = f"hephaestus_test_{uuid4().hex[:12]}"
        self.dsn = with_database(server.dsn, self._name)
        self._connection: Connection[Any] | None = None
        self._is_plain = False

    @classmethod
    @contextmanager
    def created(cls, server: Server) -> Iterator[Self]:
        """A new database, dropped after the block, whoever is connected to it.

        Raises:
            AccessDeniedError: The role may not create databases.
            DatabaseError: The server cannot be used.
        """
        with closing(_Aside()) as aside:
            database = cls(server, aside)
            aside.run(database._create)
            try:
                yield database
            finally:
                aside.run(database._drop)

    def empty(self) -> None:
        """Deletes all instances and runners, in every schema that has them.

        Whoever has written to the tables and not yet committed loses the connection.
        """
        self._aside.run(self._empty)

    def install_clock(self) -> None:
        """Installs the clock for tests to move, in sessions that begin later; again, sets it back.

        It is left out until a test asks for it: it makes each session's first statements dearer.
        """
        self._aside.run(self._install_clock)

    def last_instances(self) -> str:
        """Returns the instances that were written last as a text of some lines each."""
        lines: list[str] = []
        for schema, found in self._aside.run(self._last_instances):
            place = "" if schema == SCHEMA else f"  in schema {schema}"
            lines += [line for row in found for line in _lines(row, place)]
            total = int(found[0]["total"]) if found else 0
            if total > len(found):
                lines.append(f"and {total - len(found):,} more{place}")
        return "\n".join(lines) if lines else "it is empty"

    @asynccontextmanager
    async def storage(self, **options: Any) -> AsyncIterator[AsyncStorage]:
        """Starts a storage on it, which takes no longer to close than :data:`CLOSE_SECONDS`.

        Args:
            options: Those of :meth:`AsyncStorage.start`.
        """
        is_ours = self._is_plain and not options.keys() & {"dsn", "pool", "share", "schema"}
        kind = MigratedStorage if is_ours else AsyncStorage
        if not options.keys() & {"dsn", "pool", "share"}:
            options = {"dsn": self.dsn, **self._server.options, **options}
        storage = await kind.start(**options)
        try:
            yield storage
        finally:
            with suppress(TimeoutError):  # a transaction, or a call, that the test has left open
                async with asyncio.timeout(CLOSE_SECONDS):
                    await storage.close()

    async def _create(self) -> None:
        connection = await self._connect(self._server.dsn)
        try:
            await self._create_empty(connection)
            await migrations.up(self.dsn, schema=SCHEMA)
            self._is_plain = await check_usable(await self._connected(), SCHEMA) == _PLAIN
        except BaseException:
            await self._drop()
            raise

    async def _create_empty(self, connection: Connection[Any]) -> None:
        """Creates it by the connection, which is closed then, be it that it was interrupted."""
        create = f"CREATE DATABASE {self._name} ENCODING 'UTF8'"
        try:
            with translated_errors():
                await connection.execute(create)
        except RejectedError as error:
            if error.sqlstate != _OTHER_ENCODING:
                raise
            with translated_errors():
                await connection.execute(f"{create} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        except AccessDeniedError as error:
            role = await connection.fetchval("SELECT quote_ident(current_user)")
            raise AccessDeniedError(
                f"the role {role} may not create a database for the tests: let a superuser run "
                f"ALTER ROLE {role} CREATEDB",
                applied="no",
                retryable=False,
            ) from error
        finally:
            await connection.close()

    async def _connected(self) -> Connection[Any]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect(self.dsn)
        return self._connection

    async def _connect(self, dsn: str) -> Connection[Any]:
        return await connect(dsn, server_settings=_SETTINGS, **self._server.options)

    async def _empty(self) -> None:
        for _ in range(_TRIES):
            try:
                return await self._emptied()
            except ConflictError:
                for schema in await self._schemas():
                    await self._fetch("end_writers", schema)
            except ConnectionLostError:  # a test may end it, or restart the server
                self._connection = None
            except RejectedError as error:
                if not error.missing:
                    raise
                await migrations.up(self.dsn, schema=SCHEMA)  # a test has dropped a table
        return await self._emptied()

    async def _emptied(self) -> None:
        schemas = await self._schemas()
        names = ("lock_tables", "empty_tables")
        texts = [_sql.statement(name, schema) for name in names for schema in schemas]
        connection = await self._connected()
        with translated_errors():
            await connection.execute("; ".join(texts))

    async def _schemas(self) -> list[str]:
        """Its own, though a test may have dropped that, and those that tests have migrated."""
        return [SCHEMA, *(row["schema"] for row in await self._fetch("other_schemas", SCHEMA))]

    async def _install_clock(self) -> None:
        await clock.install(await self._connected())

    async def _last_instances(self) -> list[tuple[str, list[Record]]]:
        limits = (str(_ROWS_SHOWN), str(_STATE_SHOWN + 1))
        async with asyncio.timeout(_READ_SECONDS):
            return [
                (schema, await self._fetch("last_instances", schema, *limits))
                for schema in await self._schemas()
            ]

    async def _fetch(self, name: str, schema: str, *arguments: str) -> list[Record]:
        connection = await self._connected()
        with translated_errors():
            return await fetch_rows(connection, _sql.statement(name, schema), arguments)

    async def _drop(self) -> None:
        if self._connection is not None:
            terminate(self._connection)
        connection = await self._connect(self._server.dsn)
        try:
            with translated_errors():
                await connection.execute(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")
        finally:
            await connection.close()


class MigratedStorage(AsyncStorage):
    """A storage that takes its schema as it is.

    Looking at it takes longer than opening the connection, and it was made in this process.
    """

    async def _check_schema(self) -> None:
        pass


class _Aside:
    """An event loop beside those of the tests, which runs only while there is something to do.

    It runs in this thread unless another loop does: a thread takes as long to start as what is to
    be done, and one that lives on would have tests warned that fork.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._run(work)
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._run, work).result()

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task = self._loop.create_task(work())
        try:
            return self._loop.run_until_complete(task)
        finally:
            # Ctrl-C, or pytest-timeout, ends the loop and not the task, which would never clear up.
            if task.cancel():
                with suppress(asyncio.CancelledError):
                    self._loop.run_until_complete(task)

    def close(self) -> None:
        self.run(self._loop.shutdown_default_executor)  # which looks names of hosts up
        self._loop.close()


def _lines(row: Record, place: str) -> list[str]:
    """The lines of an instance: its columns, as far as they say something, and its state."""
    columns = [
        printable(row["id"]),
        printable(row["workflow"]),
        printable(row["status"]),
        f"revision {row['revision']}",
        f"updated {row['updated_at']}",
    ]
    if row["attempts"] != "0":
        columns.append(f"{row['attempts']} failed attempts")
    if row["due_at"] is not None:
        columns.append(f"due {row['due_at']}")
    if row["owner"] is not None:
        columns.append(f"owned by {printable(row['owner'])}")
    return ["  ".join(columns) + place, f"    {shortened(printable(row['state']), _STATE_SHOWN)}"]


def with_database(dsn: str, name: str) -> str:
    """Returns the DSN with another database, wherever it names one."""
    url = urlsplit(dsn)
    parameters = [
        (key, value)
        for key, value in parse_qsl(url.query, keep_blank_values=True)
        if key not in {"dbname", "database"}
    ]
    query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
    return f"{url.scheme}://{url.netloc}/{name}{query}"
