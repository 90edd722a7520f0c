"""Runs statements on one connection, one after another.

Nothing is tried twice there: only whoever began the transaction can begin it again.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from hephaestus_pg.driver.connection import (
    RELEASE_SECONDS,
    clean_up,
    has_left_transaction,
    is_in_transaction,
    terminate,
)
from hephaestus_pg.driver.errors import translated_errors
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.driver.two_phase import heard_by_all
from hephaestus_pg.errors import (
    DatabaseError,
    RejectedError,
    TransactionEndedError,
)
from hephaestus_pg.execution.lifecycle import Operation, checked_timeout
from hephaestus_pg.execution.statements import outdated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asyncpg import Record

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.execution.executor import Executor
    from hephaestus_pg.execution.statements import Statement, Statements

Result = TypeVar("Result")


@dataclass(slots=True)
class ConnectionExecutor:
    """Every statement on one connection, none of them twice. See :class:`Executor`."""

    retries: ClassVar[bool] = False

    connection: AnyConnection
    name: str
    """The storage's name, for errors."""
    schema: str
    statements: Statements
    timeout: float
    """Seconds that a statement may take at the most."""
    commit_timeout: float
    """Seconds that beginning and committing a transaction may take."""
    is_disposable: bool = False
    """The connection is ours to terminate when a deadline passes."""
    _has_ended: bool = field(default=False, init=False)
    _is_block: bool = field(default=False, init=False)
    """The transaction is a caller's block of it, in which statements of the caller's may end it."""

    def operation(self, verb: str, id: str | None, timeout: float | None) -> Operation:
        """See :meth:`Executor.operation`."""
        # Whoever opened the connection counts in the storage's lifecycle.
        return Operation(None, self.timeout, verb, id, timeout)

    def deadline(self, timeout: float | None) -> float:
        """See :meth:`Executor.deadline`."""
        return asyncio.get_running_loop().time() + checked_timeout(timeout, self.timeout)

    async def fetch(self, deadline: float, statement: Statement, *arguments: Any) -> list[Record]:
        """See :meth:`Executor.fetch`.

        Raises:
            ConcurrentUseError: Another task's statement is under way on the connection.
            TransactionEndedError: Its transaction has ended.
        """
        self._require_going_on()
        text, given = (statement.asking or statement).with_arguments(arguments)
        try:
            return await self._within(
                _remaining(deadline), lambda: fetch_rows(self.connection, text, given)
            )
        except RejectedError as error:
            if error.missing:
                raise outdated(error, self.schema) from error.__cause__
            raise

    async def row(self, deadline: float, statement: Statement, *arguments: Any) -> Any:
        """See :meth:`Executor.row`."""
        rows = await self.fetch(deadline, statement, *arguments)
        return rows[0] if rows else None

    async def atomically(
        self, deadline: float, work: Callable[[Executor], Awaitable[Result]]
    ) -> Result:
        """See :meth:`Executor.atomically`; inside another transaction it is a savepoint."""
        del deadline  # each statement of the work has it
        async with self.transaction() as inner:
            return await work(inner)

    @asynccontextmanager
    async def transaction(
        self, deadline: float | None = None, *, checked: bool = False
    ) -> AsyncIterator[ConnectionExecutor]:
        """A transaction on the connection; inside another one it is a savepoint.

        ``deadline``: when it must have begun, if not within the time for committing.
        ``checked``: its block is a caller's, who may catch the error of a statement in it.
        """
        self._require_going_on()
        # A BEGIN sent as text is not known to asyncpg's Transaction, which would not nest in it:
        # only a caller needs one. After a cancelled BEGIN that takes nothing back.
        transaction: Any
        if is_in_transaction(self.connection):
            transaction = _Savepoint(self.connection)
        elif checked:
            transaction = self.connection.transaction()
        else:
            transaction = _Block(self.connection)
        # As ``async with`` calls them: asyncpg refuses to mix start() and commit() with that.
        await self._within(
            self.commit_timeout if deadline is None else _remaining(deadline),
            transaction.__aenter__,
        )
        inner = replace(self)
        inner._is_block = checked  # noqa: SLF001 - of the same class
        try:
            yield inner
            end = asyncio.get_running_loop().time() + self.commit_timeout
            if checked:
                await self._require_intact(end)
        except BaseException as error:
            # The connection may be gone, and the transaction with it: the first error counts.
            await clean_up(
                self.connection,
                partial(transaction.__aexit__, type(error), error, error.__traceback__),
                seconds=RELEASE_SECONDS,
            )
            raise
        else:
            await self._within(_remaining(end), lambda: transaction.__aexit__(None, None, None))
        finally:
            inner._has_ended = True  # noqa: SLF001 - of the same class

    def _require_going_on(self) -> None:
        """Refuses what would not be part of the transaction, but commit by itself."""
        if self._has_ended:
            raise TransactionEndedError(self.name)
        if self._is_block and has_left_transaction(self.connection):
            raise TransactionEndedError(
                self.name,
                "a COMMIT or ROLLBACK sent on its connection did that: leave its block, and begin "
                "another one",
            )

    async def _require_intact(self, end: float) -> None:
        """Refuses to commit where a statement has failed, be it the caller's own: nothing is kept.

        To COMMIT such a transaction PostgreSQL answers ROLLBACK, which is no error to the driver.
        """
        try:
            await self._within(_remaining(end), lambda: self.connection.execute("SELECT 1"))
        except DatabaseError as error:
            error.applied = "no"  # whatever became of it: nothing is committed yet
            raise

    async def _within(self, seconds: float, work: Callable[[], Awaitable[Result]]) -> Result:
        """The result of ``work`` within that time, lest a silent network holds the connection."""
        with translated_errors(connection=self.connection):
            try:
                async with asyncio.timeout(seconds):
                    if self.statements.of_citus:
                        return await heard_by_all(self.connection, work)
                    return await work()
            except TimeoutError:
                if self.is_disposable:
                    terminate(self.connection)
                raise


def _remaining(deadline: float) -> float:
    return max(deadline - asyncio.get_running_loop().time(), 0.001)


class _Block:
    """A transaction that nobody but this package uses."""

    begin, commit, rollback = "BEGIN", "COMMIT", "ROLLBACK"

    def __init__(self, connection: AnyConnection) -> None:
        self._connection = connection

    async def __aenter__(self) -> None:
        try:
            await self._connection.execute(self.begin)
        except (asyncio.CancelledError, TimeoutError):
            # The server may have begun it: what its caller writes next would not be committed.
            await self._take_back()
            raise

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._connection.execute(self.commit if kind is None else self.rollback)

    async def _take_back(self) -> None:
        roll_back = partial(self._connection.execute, self.rollback)
        await clean_up(self._connection, roll_back, seconds=RELEASE_SECONDS)


class _Savepoint(_Block):
    """A part of a transaction, however that was begun, which can be taken back by itself."""

    begin, commit = "SAVEPOINT hephaestus_pg", "RELEASE SAVEPOINT hephaestus_pg"
    # Of several savepoints with that name the latest is the one that is meant.
    rollback = f"ROLLBACK TO SAVEPOINT hephaestus_pg; {commit}"

    async def _take_back(self) -> None:
        """One that is left holds nothing."""
