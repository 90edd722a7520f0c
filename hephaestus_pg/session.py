"""What runs the statements of ``sql/queries``, and running them on one connection.

There nothing is tried twice: only who began the transaction can begin it again.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from math import inf
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio

from hephaestus_pg import _sql
from hephaestus_pg.driver_errors import DRIVER_ERRORS, translated_errors
from hephaestus_pg.errors import (
    InvalidTypeError,
    InvalidValueError,
    RejectedError,
    SchemaOutdatedError,
    TransactionEndedError,
    is_a,
)
from hephaestus_pg.migration_files import latest
from hephaestus_pg.pool import RELEASE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asyncpg import Record

    from hephaestus_pg.pool import AnyConnection

Result = TypeVar("Result")


class Executor(Protocol):
    """Runs statements in one schema. A ``deadline`` is a time of the event loop's clock."""

    schema: str
    retries: bool
    """Whether an operation may be done again, as a whole, after a failure."""

    @property
    def gate(self) -> AbstractContextManager[None]:
        """The way in, which a verb holds from its first statement to its last."""
        ...

    def deadline(self, timeout: float | None) -> float:
        """When an operation that begins now must end; ``None`` is the storage's own timeout."""
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

    gate = nullcontext()  # who opened the connection holds the storage's
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
                self._remaining(deadline), lambda: self.connection.fetch(text, *arguments)
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
    async def transaction(self, deadline: float | None = None) -> AsyncIterator[SessionExecutor]:
        """A transaction on the connection; inside another one it is a savepoint.

        ``deadline``: when it must have begun, if not as soon as it must have committed.
        """
        transaction = self.connection.transaction()
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
        except BaseException as error:
            # The connection may be gone, and the transaction with it: the first error counts.
            with suppress(*DRIVER_ERRORS), anyio.CancelScope(shield=True):
                async with asyncio.timeout(RELEASE_SECONDS):
                    await transaction.__aexit__(type(error), error, error.__traceback__)
            raise
        else:
            await self._within(self._patience, lambda: transaction.__aexit__(None, None, None))
        finally:
            inner._ended = True

    @staticmethod
    def _remaining(deadline: float) -> float:
        return max(deadline - asyncio.get_running_loop().time(), 0.001)

    async def _within(self, seconds: float, work: Callable[[], Awaitable[Result]]) -> Result:
        """What ``work`` gives within that time, lest a silent network holds the connection."""
        with translated_errors():
            try:
                async with asyncio.timeout(seconds):
                    return await work()
            except TimeoutError:
                if self._expendable:
                    with suppress(*DRIVER_ERRORS):  # it may be gone already
                        self.connection.terminate()
                raise


def outdated(error: RejectedError, schema: str) -> SchemaOutdatedError:
    """What it means that a statement of ours met no table or column where it should be."""
    return SchemaOutdatedError(schema, found=None, needed=latest(), missing=error.missing)


LONGEST_TIMEOUT = 2_000_000.0
"""Seconds that a timeout may be, 23 days: a server counts milliseconds in 31 bits."""


def checked_timeout(timeout: Any, longest: float) -> float:
    """``timeout`` in seconds, or ``longest`` where it is ``None``.

    A call's may be no longer than the storage's: the server has that one, and ends what goes on.
    The storage's own, for which ``longest`` is infinite, may be :data:`LONGEST_TIMEOUT`.
    """
    if timeout is None:
        return longest
    if not (is_a(timeout, int) or is_a(timeout, float)) or is_a(timeout, bool):
        raise InvalidTypeError("timeout", timeout, "give a number of seconds")
    if not 0 < timeout <= min(longest, LONGEST_TIMEOUT):
        own = f"the storage's own {longest:g}" if longest < inf else f"{LONGEST_TIMEOUT:.0f}"
        raise InvalidValueError("timeout", timeout, f"give seconds above 0, up to {own}")
    return float(timeout)
