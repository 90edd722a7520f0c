"""What runs the statements of ``sql/queries``, and running them on one connection.

There nothing is tried twice: only who began the transaction can begin it again.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio
import asyncpg

from hephaestus_pg import _sql
from hephaestus_pg.driver.connection import RELEASE_SECONDS, terminate
from hephaestus_pg.driver.errors import DRIVER_ERRORS, translated_errors
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.errors import (
    DatabaseError,
    InvalidTypeError,
    RejectedError,
    SchemaOutdatedError,
    TransactionEndedError,
    is_a,
)
from hephaestus_pg.execution.lifecycle import Operation, checked_timeout
from hephaestus_pg.migrations.files import latest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asyncpg import Record

    from hephaestus_pg.driver.errors import AnyConnection

Result = TypeVar("Result")


class Executor(Protocol):
    """Runs statements in one schema. A ``deadline`` is a time of the event loop's clock."""

    schema: str
    retries: bool
    """Whether an operation may be done again, as a whole, after a failure."""

    def operation(self, verb: str, id: str | None, timeout: float | None) -> Operation:
        """The ``with`` block of a verb, from its first statement to its last: its deadline.

        ``None`` is the storage's own timeout.
        """
        ...

    def deadline(self, timeout: float | None) -> float:
        """When a statement that begins now, one of several of a verb, must end."""
        ...

    async def fetch(self, deadline: float, statement: str, *arguments: Any) -> list[Record]:
        """The rows of ``sql/queries/<statement>.sql``."""
        ...

    def row(self, deadline: float, statement: str, id: str, *arguments: Any) -> Awaitable[Any]:
        """The row that a statement on one id gives, if any."""
        ...

    async def atomically(
        self, deadline: float, work: Callable[[SessionExecutor], Awaitable[Result]]
    ) -> Result:
        """What ``work`` does in one transaction; it may be done twice.

        It must have begun by the ``deadline``; each of its statements has one of its own.
        """
        ...


class SessionExecutor:
    """Every statement on one connection, one after another, none of them twice."""

    retries = False

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        connection: AnyConnection,
        *,
        name: str,
        schema: str,
        timeout: float,
        patience: float | None = None,
        expendable: bool = False,
    ) -> None:
        """``patience``: seconds that beginning and committing may take, if not ``timeout``.

        ``expendable``: the connection is ours to give up where a deadline passes.
        """
        self.schema = schema
        self.connection = connection
        self._name = name
        self._timeout = timeout
        self._patience = timeout if patience is None else patience
        self._expendable = expendable
        self._ended = False

    def operation(self, verb: str, id: str | None, timeout: float | None) -> Operation:
        """See :meth:`Executor.operation`."""
        # Who opened the connection holds the storage's gate.
        return Operation(None, self._timeout, verb, id, timeout)

    def deadline(self, timeout: float | None) -> float:
        """See :meth:`Executor.deadline`."""
        return asyncio.get_running_loop().time() + checked_timeout(timeout, self._timeout)

    async def fetch(self, deadline: float, statement: str, *arguments: Any) -> list[Record]:
        """See :meth:`Executor.fetch`.

        Raises:
            ConcurrentUseError: Another task's statement is under way on the connection.
            TransactionEndedError: The block of its transaction is left.
        """
        if self._ended:
            raise TransactionEndedError(self._name)
        text = _sql.statement(statement, self.schema)
        try:
            return await self._within(
                self._remaining(deadline), lambda: fetch_rows(self.connection, text, arguments)
            )
        except RejectedError as error:
            if error.missing:
                raise outdated(error, self.schema) from error.__cause__
            raise

    async def row(self, deadline: float, statement: str, id: str, *arguments: Any) -> Any:
        """See :meth:`Executor.row`."""
        rows = await self.fetch(deadline, statement, id, *arguments)
        return rows[0] if rows else None

    async def atomically(
        self, deadline: float, work: Callable[[SessionExecutor], Awaitable[Result]]
    ) -> Result:
        """See :meth:`Executor.atomically`; inside another transaction it is a savepoint."""
        del deadline  # each statement of the work has it
        async with self.transaction() as session:
            return await work(session)

    @asynccontextmanager
    async def transaction(
        self, deadline: float | None = None, *, checked: bool = False
    ) -> AsyncIterator[SessionExecutor]:
        """A transaction on the connection; inside another one it is a savepoint.

        ``deadline``: when it must have begun, if not as soon as it must have committed.
        ``checked``: its block is a caller's, who may catch the error of a statement in it.
        """
        # A transaction may have been begun by a statement, of which the driver's own knows nothing.
        transaction = (
            _Savepoint(self.connection)
            if self.connection.is_in_transaction()
            else self.connection.transaction()
        )
        seconds = self._patience if deadline is None else self._remaining(deadline)
        # As ``async with`` does it, so that the driver expects one that was cancelled as it began.
        await self._within(seconds, transaction.__aenter__)
        inner = SessionExecutor(
            self.connection,
            name=self._name,
            schema=self.schema,
            timeout=self._timeout,
            patience=self._patience,
            expendable=self._expendable,
        )
        try:
            yield inner
            end = asyncio.get_running_loop().time() + self._patience
            if checked:
                await self._require_intact(end)
        except BaseException as error:
            # The connection may be gone, and the transaction with it: the first error counts.
            with suppress(*DRIVER_ERRORS), anyio.CancelScope(shield=True):
                async with asyncio.timeout(RELEASE_SECONDS):
                    await transaction.__aexit__(type(error), error, error.__traceback__)
            raise
        else:
            await self._within(
                self._remaining(end), lambda: transaction.__aexit__(None, None, None)
            )
        finally:
            inner._ended = True

    async def _require_intact(self, end: float) -> None:
        """Refuse to commit where a statement has failed, be it the caller's own: nothing is kept.

        To COMMIT such a transaction PostgreSQL answers ROLLBACK, which is no error to the driver.
        """
        try:
            await self._within(self._remaining(end), lambda: self.connection.execute("SELECT 1"))
        except DatabaseError as error:
            error.applied = "no"  # whatever became of it: nothing is committed yet
            raise

    @staticmethod
    def _remaining(deadline: float) -> float:
        return max(deadline - asyncio.get_running_loop().time(), 0.001)

    async def _within(self, seconds: float, work: Callable[[], Awaitable[Result]]) -> Result:
        """What ``work`` gives within that time, lest a silent network holds the connection."""
        with translated_errors(connection=self.connection):
            try:
                async with asyncio.timeout(seconds):
                    return await work()
            except TimeoutError:
                if self._expendable:
                    terminate(self.connection)
                raise


class _Savepoint:
    """A part of a transaction, however that was begun, which can be taken back by itself."""

    def __init__(self, connection: AnyConnection) -> None:
        self._connection = connection

    async def __aenter__(self) -> None:
        await self._connection.execute("SAVEPOINT hephaestus_pg")

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # The latest of a name is the one that is meant.
        end = "" if kind is None else "ROLLBACK TO SAVEPOINT hephaestus_pg; "
        await self._connection.execute(f"{end}RELEASE SAVEPOINT hephaestus_pg")


def outdated(error: RejectedError, schema: str) -> SchemaOutdatedError:
    """What it means that a statement of ours met no table or column where it should be."""
    return SchemaOutdatedError(schema, found=None, needed=latest(), missing=error.missing)


def checked_connection(connection: Any) -> AnyConnection:
    """``connection``, when it is one of asyncpg's own, by itself or of a pool."""
    if is_a(connection, asyncpg.Connection):
        return connection  # type: ignore[no-any-return]
    advice = "give a connection of asyncpg"
    if is_a(connection, asyncpg.Pool):
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
