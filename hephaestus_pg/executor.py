"""Running the statements of ``sql/queries`` on any connection of a pool.

A statement is tried again, within its deadline, when it surely did not happen or may safely happen
twice.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from hephaestus_pg import _sql
from hephaestus_pg.backend import Backend
from hephaestus_pg.batching import Batcher
from hephaestus_pg.driver_errors import DRIVER_ERRORS, is_lost, translated, translated_errors
from hephaestus_pg.errors import ConflictError, DatabaseError, OperationTimeoutError
from hephaestus_pg.gate import Gate
from hephaestus_pg.lease import Lease
from hephaestus_pg.pool import RELEASE_SECONDS
from hephaestus_pg.retry import FIRST_PAUSE, Retries
from hephaestus_pg.session import SessionExecutor, checked_timeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asyncpg import Pool, Record
    from asyncpg.pool import PoolConnectionProxy

    from hephaestus_pg.batching import Run
    from hephaestus_pg.session import AnyConnection

    Source = Pool[Any] | Lease

Result = TypeVar("Result")

TIMEOUT = 30.0
"""Seconds that an operation may take, waiting for a connection included."""

Kind = Literal["read", "overwrite", "change"]
"""What is done: an overwrite, done twice, leaves what once would leave; a change might not."""

# Every other statement is a change: what became of it, the verbs see by a look at the row.
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("count", "get", "get_many", "query", "profile"), "read"),
    **dict.fromkeys(("page_by_id", "page_by_inserted_at", "page_by_updated_at"), "read"),
    **dict.fromkeys(("put", "put_many", "prune"), "overwrite"),
}


class PoolExecutor:
    """Each statement on a connection of the pool, for as long as the storage is open.

    Belongs to the event loop in which it was made. ``owned`` pools are closed with it. With
    ``batching``, concurrent statements on one id each are sent together.
    """

    retries = True

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        pool: Pool[Any],
        *,
        name: str,
        schema: str,
        owned: bool,
        batching: bool,
        timeout: float = TIMEOUT,
    ) -> None:
        self.schema = schema
        self._timeout = timeout
        self._pool = pool
        self._owned = owned
        self.gate = Gate(name)
        self._loop = asyncio.get_running_loop()
        self._batcher = Batcher(self.fetch, self._lane) if batching else None
        self.row: Callable[..., Awaitable[Any]] = (
            self._row if self._batcher is None else self._batcher.row
        )
        """See :meth:`Executor.row`."""

    def deadline(self, timeout: float | None) -> float:
        """See :meth:`Executor.deadline`."""
        return self._loop.time() + checked_timeout(timeout, self._timeout)

    async def fetch(self, deadline: float, statement: str, *arguments: Any) -> list[Record]:
        """See :meth:`Executor.fetch`."""
        return await self._fetch(self._pool, deadline, statement, *arguments)

    async def _fetch(
        self, source: Source, deadline: float, statement: str, *arguments: Any
    ) -> list[Record]:
        text = _sql.statement(statement, self.schema)
        kind = _KINDS.get(statement.partition(":")[0], "change")  # of a variant too
        return await self._tried(
            deadline,
            statement,
            lambda connection: connection.fetch(text, *arguments),
            kind=kind,
            source=source,
        )

    @asynccontextmanager
    async def _lane(self) -> AsyncIterator[Run]:
        """:meth:`fetch` for statements one after another, which mostly share a connection."""
        lease = Lease(self._pool)
        try:
            yield partial(self._fetch, lease)
        finally:
            await self._released(lease.end(timeout=RELEASE_SECONDS))

    async def _row(self, deadline: float, statement: str, *arguments: Any) -> Any:
        rows = await self.fetch(deadline, statement, *arguments)
        return rows[0] if rows else None

    async def read(
        self,
        name: str,
        work: Callable[[AnyConnection], Awaitable[Result]],
        timeout: float | None = None,
    ) -> Result:
        """What ``work``, which only reads, gives on some connection, and on others if it must."""
        deadline = self.deadline(timeout)
        with self.gate:
            return await self._tried(deadline, name, work, kind="read")

    async def atomically(
        self, deadline: float, work: Callable[[SessionExecutor], Awaitable[Result]]
    ) -> Result:
        """See :meth:`Executor.atomically`."""
        patience = deadline - self._loop.time()

        async def in_transaction(connection: AnyConnection) -> Result:
            ours = self._ours(connection, patience=patience)
            async with ours.transaction(deadline) as session:
                return await work(session)

        return await self._tried(
            deadline, "transaction", in_transaction, kind="overwrite", bounded=False
        )

    @asynccontextmanager
    async def transaction(self, timeout: float | None = None) -> AsyncIterator[SessionExecutor]:
        """One connection in a transaction, which commits when the block ends without an error.

        Beginning it, each statement in it, and committing have ``timeout`` seconds each, by default
        the storage's. Only beginning is tried again: nothing of the caller's has been sent by then.
        """
        seconds = checked_timeout(timeout, self._timeout)
        with self.gate:
            begun, session = await self._begun(seconds)
            try:
                async with begun:
                    yield session
            except Exception as error:
                if is_lost(error):
                    await self._pool.expire_connections()
                raise

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PoolConnectionProxy[Any]]:
        """A connection of the pool, for as long as the block runs."""
        with self.gate:
            async with self._acquired(self.deadline(None)) as connection:
                yield connection

    async def close(self) -> None:
        """Refuse new calls, wait for those under way, and close a pool of our own.

        Calls end by their deadlines. A transaction that is open for longer, or the end of the
        caller's patience, ends a pool of our own with whatever still uses it.
        """
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timeout):
                    await self.gate.close()
            if self._owned:
                with suppress(*DRIVER_ERRORS):
                    async with asyncio.timeout(RELEASE_SECONDS):
                        await self._pool.close()
        finally:
            if self._batcher is not None:
                self._batcher.stop_clock()
            if self._owned:
                self._pool.terminate()  # of what is closed already, nothing

    def session(self, connection: AnyConnection) -> SessionExecutor:
        """The same statements, on one connection of the caller's alone."""
        return SessionExecutor(
            connection, name=self.gate.name, schema=self.schema, timeout=self._timeout
        )

    def _ours(
        self, connection: AnyConnection, timeout: float | None = None, patience: float | None = None
    ) -> SessionExecutor:
        return SessionExecutor(
            connection,
            name=self.gate.name,
            schema=self.schema,
            timeout=self._timeout if timeout is None else timeout,
            patience=patience,
            expendable=True,
        )

    @asynccontextmanager
    async def _acquired(self, deadline: float) -> AsyncIterator[PoolConnectionProxy[Any]]:
        with translated_errors(connecting=True):
            async with asyncio.timeout_at(deadline):
                connection = await self._pool.acquire()
        try:
            yield connection
        finally:
            await self._released(self._pool.release(connection, timeout=RELEASE_SECONDS))

    async def _begun(self, seconds: float) -> tuple[AsyncExitStack, SessionExecutor]:
        """A transaction, and what ends it and gives its connection back."""
        deadline = self._loop.time() + seconds
        retries: Retries | None = None
        while True:
            try:
                async with AsyncExitStack() as stack:
                    connection = await stack.enter_async_context(self._acquired(deadline))
                    ours = self._ours(connection, seconds)
                    session = await stack.enter_async_context(ours.transaction(deadline))
                    return stack.pop_all(), session
            except DatabaseError as error:
                error.applied = "no"  # whatever became of a BEGIN
                if is_lost(error):
                    await self._pool.expire_connections()
                if retries is None:
                    name = f"the beginning of a transaction in schema {self.schema}"
                    retries = Retries(deadline, name, safe_twice=True)
                if not await retries.another(error):
                    raise

    async def _tried(  # noqa: PLR0913 - each is a setting of its own
        self,
        deadline: float,
        name: str,
        work: Callable[[AnyConnection], Awaitable[Result]],
        *,
        kind: Kind,
        bounded: bool = True,
        source: Source | None = None,
    ) -> Result:
        """What ``work`` gives, done again while that is safe and the deadline lasts.

        A write is not, as long as its earlier try may still be under way on the server.
        ``bounded``: the deadline is that of the work too, not only of its beginning.
        """
        divisible = name.endswith(":gathered")
        retries: Retries | None = None
        while True:
            sent_to: list[Backend] | None = None if kind == "read" else []
            try:
                return await self._once(
                    deadline, work, sent_to, bounded=bounded, source=source or self._pool
                )
            except DatabaseError as error:
                if divisible and isinstance(error, ConflictError) and error.applied == "no":
                    raise  # the batcher divides it, lest one call holds up the others
                divisible = False  # this try may have been applied, which the next must not hide
                if is_lost(error):
                    await self._pool.expire_connections()
                    if sent_to and error.applied == "unknown":
                        error.retryable = await self._ended(deadline, sent_to[0])
                if retries is None:
                    name = f"{name} in schema {self.schema}"
                    retries = Retries(deadline, name, safe_twice=kind != "change")
                if not await retries.another(error):
                    raise

    async def _once(
        self,
        deadline: float,
        work: Callable[[AnyConnection], Awaitable[Result]],
        sent_to: list[Backend] | None,
        *,
        bounded: bool,
        source: Source,
    ) -> Result:
        """What ``work`` gives; ``sent_to`` is told on whose connection it is done."""
        now = self._loop.time()
        if now >= deadline:
            # What is sent too late costs its connection, which is healthy.
            raise OperationTimeoutError(
                "the deadline passed before the statement was sent", applied="no", retryable=True
            )
        connection: PoolConnectionProxy[Any] | None = None
        try:
            async with asyncio.timeout_at(deadline) as limit:
                connection = await source.acquire()
                if sent_to is not None:
                    sent_to.append(Backend.behind(connection, now))
                if not bounded:
                    limit.reschedule(None)
                return await work(connection)
        except DRIVER_ERRORS as error:
            source = self._pool  # nobody keeps what failed
            if isinstance(error, TimeoutError) and connection is not None:
                # Asking to cancel may take for ever on a silent network: MagicStack/asyncpg#1326.
                with suppress(*DRIVER_ERRORS):  # it may be gone already
                    connection.terminate()
            if isinstance(error, DatabaseError):
                raise
            raise translated(error, connecting=connection is None) from error
        finally:
            if connection is not None:
                await self._released(source.release(connection, timeout=RELEASE_SECONDS))

    async def _ended(self, deadline: float, backend: Backend) -> bool:
        """Whether, by the deadline, that backend is known to be gone, ended by us if need be.

        The server may notice late that a connection broke, and its backend may then carry out what
        it was sent: after a second try, or a look at the row, that would undo what came since.
        """

        async def end(connection: AnyConnection) -> bool | None:
            return await backend.ended(connection, self.schema, self._loop.time())

        try:
            while True:
                ended = await self._tried(deadline, "end_backend", end, kind="read")
                if ended is not False:
                    return ended is True
                await asyncio.sleep(FIRST_PAUSE)
        except DatabaseError:
            return False

    @staticmethod
    async def _released(release: Awaitable[None]) -> None:
        # asyncpg gives up what does not come to rest in time; the statement's own result counts.
        try:  # noqa: SIM105 - on the way of every statement
            await release
        except DRIVER_ERRORS:
            pass
