"""Running the statements of ``sql/queries`` on any connection of a pool."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from hephaestus_pg import _sql
from hephaestus_pg.batching.batcher import Batcher
from hephaestus_pg.batching.keyed import KeyedBatcher
from hephaestus_pg.driver.connection import RELEASE_SECONDS
from hephaestus_pg.driver.errors import DRIVER_ERRORS, should_reset_pool
from hephaestus_pg.driver.hooks import translate_any
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.errors import DatabaseError
from hephaestus_pg.execution.attempts import Attempts, released
from hephaestus_pg.execution.connection_executor import SessionExecutor
from hephaestus_pg.execution.lifecycle import Gate, Operation, checked_timeout
from hephaestus_pg.execution.pinned import Lease
from hephaestus_pg.execution.retrying import Retries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asyncpg import Pool, Record
    from asyncpg.pool import PoolConnectionProxy

    from hephaestus_pg.batching.batcher import Run
    from hephaestus_pg.batching.keyed import BatchBy
    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.execution.attempts import Kind, Source

Result = TypeVar("Result")

TIMEOUT = 30.0
"""Seconds that an operation may take, waiting for a connection included."""

# Every other statement is a change: what became of it, the verbs see by a look at the row.
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("count", "get", "get_many", "query", "profile"), "read"),
    **dict.fromkeys(("page_by_id", "page_by_inserted_at", "page_by_updated_at"), "read"),
    **dict.fromkeys(("put", "put_many", "prune"), "overwrite"),
}


class PoolExecutor:
    """Each statement on a connection of the pool, for as long as the storage is open.

    Belongs to the event loop in which it was made. ``owned`` pools are closed with it. With
    ``batching``, concurrent statements on one id each are sent together: all of them, or, with
    ``batch_by``, those for whose callers that gives the same value.
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
        batch_by: BatchBy | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self.schema = schema
        self._timeout = timeout
        self._pool = pool
        self._owned = owned
        self.gate = Gate(name)
        self.operation: Callable[[str, str | None, float | None], Operation] = partial(
            Operation, self.gate, timeout
        )
        """See :meth:`Executor.operation`."""
        self._loop = asyncio.get_running_loop()
        self._attempts = Attempts(pool, schema)
        self._batcher = self._batched(batch_by) if batching else None
        self.row: Callable[..., Awaitable[Any]] = (
            self._row if self._batcher is None else self._batcher.row
        )
        """See :meth:`Executor.row`."""

    def _batched(self, batch_by: BatchBy | None) -> Batcher | KeyedBatcher:
        if batch_by is None:
            return Batcher(self.fetch, self._lane)
        # A hook of the pool sees the context of one of those who share its connection.
        return KeyedBatcher(
            lambda: Batcher(self.fetch, self._lane, in_callers_context=True), batch_by
        )

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
        return await self._attempts.result_of(
            deadline,
            statement,
            lambda connection: fetch_rows(connection, text, arguments),
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
            if (kept := lease.end()) is not None:
                await released(self._pool, kept)

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
        with self.operation(name, None, timeout) as deadline:
            return await self._attempts.result_of(deadline, name, work, kind="read")

    async def atomically(
        self, deadline: float, work: Callable[[SessionExecutor], Awaitable[Result]]
    ) -> Result:
        """See :meth:`Executor.atomically`."""
        patience = deadline - self._loop.time()

        async def in_transaction(connection: AnyConnection) -> Result:
            ours = self._ours(connection, patience=patience)
            async with ours.transaction(deadline) as session:
                return await work(session)

        return await self._attempts.result_of(
            deadline, "transaction", in_transaction, kind="overwrite", bounded=False
        )

    @asynccontextmanager
    async def transaction(self, timeout: float | None = None) -> AsyncIterator[SessionExecutor]:
        """One connection in a transaction, which commits when the block ends without an error.

        Beginning it, each statement in it, and committing have ``timeout`` seconds each, by default
        the storage's. Only beginning is tried again: nothing of the caller's has been sent by then.
        """
        seconds = checked_timeout(timeout, self._timeout)
        with self.operation("transaction", None, timeout):
            begun, session = await self._begun(seconds)
            try:
                async with begun:
                    yield session
            except Exception as error:
                if should_reset_pool(error):
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
        try:
            async with asyncio.timeout_at(deadline):
                connection = await self._pool.acquire()
        except BaseException as error:
            if (ours := translate_any(error, None)) is error:
                raise
            raise ours from error
        try:
            if lend := getattr(connection, "lend", None):
                lend()
            yield connection
        finally:
            await released(self._pool, connection)

    async def _begun(self, seconds: float) -> tuple[AsyncExitStack, SessionExecutor]:
        """A transaction, and what ends it and gives its connection back."""
        deadline = self._loop.time() + seconds
        retries: Retries | None = None
        while True:
            try:
                async with AsyncExitStack() as stack:
                    connection = await stack.enter_async_context(self._acquired(deadline))
                    ours = self._ours(connection, seconds)
                    session = await stack.enter_async_context(
                        ours.transaction(deadline, checked=True)
                    )
                    return stack.pop_all(), session
            except DatabaseError as error:
                error.applied = "no"  # whatever became of a BEGIN
                if should_reset_pool(error):
                    await self._pool.expire_connections()
                if retries is None:
                    name = f"the beginning of a transaction in schema {self.schema}"
                    retries = Retries(deadline, name, safe_twice=True)
                if not await retries.another(error):
                    raise
