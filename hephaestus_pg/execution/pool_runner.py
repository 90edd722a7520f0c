"""Runs work on a connection of a pool, within its deadline, and again where that is safe."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hephaestus_pg.batching.deadlines import Timeout, Timeouts
from hephaestus_pg.driver.connection import terminate
from hephaestus_pg.driver.errors import should_reset_pool
from hephaestus_pg.driver.hooks import translate_any
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.driver.two_phase import heard_by_all
from hephaestus_pg.errors import (
    ConflictError,
    DatabaseError,
    OperationTimeoutError,
    RejectedError,
)
from hephaestus_pg.execution import retrying
from hephaestus_pg.execution.fencing import Backend, fence
from hephaestus_pg.execution.statements import outdated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asyncpg import Record

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.execution.connections import Connections
    from hephaestus_pg.execution.statements import Kind, Statement, Statements

Result = TypeVar("Result")

ASK_SECONDS = 0.1
"""Seconds between two writes that ask who listens: asking makes a put a thirteenth dearer.

Tenants are many, and each writes seldom: with 100 of them nearly every put asked each 0.02 s.
"""

# One row may be the cause: a trigger or an index of the user's may refuse it with any code.
_REFUSALS = (ConflictError, RejectedError)


class PoolRunner:
    """Runs work on ``connections``; the ``statements`` are of the schema it works on."""

    def __init__(self, connections: Connections, statements: Statements, schema: str) -> None:
        self.connections = connections
        self.statements = statements
        self.schema = schema
        self.loop = asyncio.get_running_loop()
        self.waiting = 0
        """Tries that wait for a connection."""
        self.failed_tries = 0
        """Tries so far that failed."""
        self._ask_at = 0.0
        self.timeouts = Timeouts()
        """Those of the tries under way."""
        self.make_tries: Callable[..., Tries[Any]] = Tries
        """Makes the tries of a piece of work: where a test makes them fail."""

    def fetch(
        self,
        deadline: float,
        statement: Statement,
        *arguments: Any,
        source: Connections | None = None,
        work_timeout: float | None = None,
    ) -> Awaitable[list[Record]]:
        """The rows of the statement; see :meth:`run`. Now and then it asks who listens."""
        if statement.asking is not None and (now := self.loop.time()) >= self._ask_at:
            self._ask_at = now + ASK_SECONDS
            statement = statement.asking
        text, given = statement.text, arguments
        if statement.multi_row is not None:
            text, given = statement.with_arguments(arguments)

        def fetch(connection: AnyConnection) -> Awaitable[list[Record]]:
            if self.statements.of_citus:
                return heard_by_all(connection, lambda: fetch_rows(connection, text, given))
            return fetch_rows(connection, text, given)

        return self.run(
            deadline,
            statement.name,
            fetch,
            kind=statement.kind,
            is_batch=statement.is_batch,
            text=text,
            source=source,
            work_timeout=work_timeout,
        )

    def run(  # noqa: PLR0913 - each is a setting of its own
        self,
        deadline: float,
        name: str,
        work: Callable[[AnyConnection], Awaitable[Result]],
        *,
        kind: Kind,
        is_batch: bool = False,
        text: str = "",
        source: Connections | None = None,
        work_timeout: float | None = None,
    ) -> Awaitable[Result]:
        """The result of ``work``, tried until the ``deadline`` as far as its ``kind`` allows.

        Args:
            deadline: A time of the event loop's clock.
            name: The work's name in the log.
            work: One try of the work on a connection.
            kind: The effect of a second try after one that may have been applied.
            is_batch: It holds the calls of several callers, and is not tried again where one of
                them may be to blame.
            text: The statement that it runs, if it is but one.
            source: The source of connections, if not that of this runner.
            work_timeout: Seconds that the work has from when it has a connection, which must be by
                the deadline; ``inf``: as many as it takes. By default the deadline ends it too.
        """
        source = source or self.connections
        tries = self.make_tries(
            self, deadline, name, work, text, source, kind, is_batch, work_timeout
        )
        return self.run_all(tries)

    def run_all(self, tries: Tries[Result]) -> Awaitable[Result]:
        """The result of the first try that succeeds, or the error of the last one."""
        is_idempotent = tries.kind != "non_idempotent"
        return retrying.run(
            tries.run_once,
            retrying.IDEMPOTENT if is_idempotent else retrying.NON_IDEMPOTENT,
            tries.deadline,
            name=tries.name,
            schema=self.schema,
            on_failure=tries.on_failure,
        )

    @asynccontextmanager
    async def lent(self, deadline: float) -> AsyncIterator[AnyConnection]:
        """A connection for a caller's own code until the block ends, had by the ``deadline``."""
        connections = self.connections
        self.waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                connection = connections.try_acquire("") or await connections.acquire("")
        except BaseException as error:
            if (ours := translate_any(error, None)) is error:
                raise
            raise ours from error
        finally:
            self.waiting -= 1
        try:
            yield connections.lend(connection)
        finally:
            await connections.release(connection)

    async def expire_after(self, error: Exception) -> bool:
        """Has every connection replaced, if the error says that others are broken too."""
        if is_broken := should_reset_pool(error):
            await self.connections.pool.expire_connections()
        return is_broken

    def fence(self, backend: Backend, deadline: float) -> Awaitable[bool]:
        """Ends ``backend`` by the ``deadline``; ``True`` if it is known to be gone."""
        statement = self.statements.terminate_backend

        def terminate(connection: AnyConnection) -> Awaitable[bool | None]:
            return backend.terminate(connection, statement, self.loop.time())

        return fence(lambda: self.run(deadline, statement.name, terminate, kind="read"))


@dataclass(slots=True)
class Tries(Generic[Result]):
    """The tries of one piece of work: the last one's backend, and how many failed."""

    runner: PoolRunner
    deadline: float
    name: str
    work: Callable[[AnyConnection], Awaitable[Result]]
    text: str
    source: Connections
    kind: Kind
    is_batch: bool
    work_timeout: float | None
    backend: Backend | None = None
    failures: int = 0

    async def run_once(self) -> Result:
        """One try."""
        self.backend = None
        runner = self.runner
        now = runner.loop.time()
        if now >= self.deadline:
            # Sent now it would time out, and its connection, which is healthy, be terminated.
            raise OperationTimeoutError.before_sending()
        source = self.source
        connection: AnyConnection | None = None
        try:
            with Timeout(runner.timeouts, self.deadline) as limit:
                connection = source.try_acquire(self.text)
                if connection is None:
                    runner.waiting += 1
                    try:
                        connection = await source.acquire(self.text)
                    finally:
                        runner.waiting -= 1
                if self.kind != "read":
                    self.backend = Backend.behind(connection, now)
                if self.work_timeout is not None:
                    limit.reschedule(runner.loop.time() + self.work_timeout)
                result = await self.work(connection)
            if source.try_release(connection):
                connection = None
        except BaseException as error:
            if connection is not None and (
                isinstance(error, TimeoutError) or _forgot_statements(error)
            ):
                terminate(connection)
            if (ours := translate_any(error, connection)) is error:
                raise
            raise ours from error
        finally:
            if connection is not None:  # also one that failed: the pool looks at it
                await source.release(connection)
        return result

    async def on_failure(self, error: DatabaseError) -> None:
        """Raises what no other try mends, resets the pool, and fences a write that may go on.

        A lost write is not tried again as long as it may still be under way on the server.
        """
        runner = self.runner
        runner.failed_tries += 1
        self.failures += 1
        if isinstance(error, RejectedError) and error.missing:
            raise outdated(error, runner.schema) from error.__cause__
        if self.failures == 1:
            if self.is_batch and isinstance(error, _REFUSALS) and error.applied == "no":
                raise error  # the batcher divides it, lest one call holds up the others
            if _forgot_statements(error.__cause__):
                error.retryable = True
        is_broken = await runner.expire_after(error)
        if is_broken and self.backend and error.applied == "unknown":
            error.retryable = await runner.fence(self.backend, self.deadline)


def _forgot_statements(error: BaseException | None) -> bool:
    """The session has lost its prepared statements, as by ``DISCARD ALL``: nothing was done.

    The driver does not notice. So the connection is given up, and the call tried on another, once:
    behind PgBouncer without ``pgbouncer=True`` that would go on for ever.
    """
    return getattr(error, "sqlstate", None) == "26000"
