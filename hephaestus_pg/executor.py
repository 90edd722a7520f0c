"""Running the statements of ``sql/queries``: on any connection of a pool, or on just one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from hephaestus_pg import _sql
from hephaestus_pg.batching import Batcher
from hephaestus_pg.errors import (
    StorageClosedError,
    TransactionEndedError,
    WrongEventLoopError,
)
from hephaestus_pg.pool import translated_errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from asyncpg import Connection, Pool, Record
    from asyncpg.pool import PoolConnectionProxy

    AnyConnection = Connection[Any] | PoolConnectionProxy[Any]


class Executor(Protocol):
    """Runs statements in one schema."""

    schema: str

    async def fetch(self, statement: str, *arguments: Any) -> list[Record]:
        """The rows of ``sql/queries/<statement>.sql``."""
        ...

    async def row(self, statement: str, id: str, *arguments: Any) -> Record | None:
        """The row that a statement on one id gives, if any."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[SessionExecutor]:
        """One connection in a transaction, which commits when the block ends without an error."""
        ...


class PoolExecutor:
    """Each statement on a connection of the pool, for as long as the storage is open.

    Belongs to the event loop in which it was made. ``owned`` pools are closed with it. With
    ``batching``, concurrent statements on one id each are sent together.
    """

    def __init__(
        self, pool: Pool[Any], *, name: str, schema: str, owned: bool, batching: bool
    ) -> None:
        self.schema = schema
        self._pool = pool
        self._owned = owned
        self._gate = _Gate(name)
        self._batcher = Batcher(self._run) if batching else None

    async def fetch(self, statement: str, *arguments: Any) -> list[Record]:
        """See :meth:`Executor.fetch`."""
        self._gate.enter()
        try:
            return await self._run(statement, *arguments)
        finally:
            self._gate.leave()

    async def row(self, statement: str, id: str, *arguments: Any) -> Record | None:
        """See :meth:`Executor.row`."""
        self._gate.enter()
        try:
            if self._batcher is not None:
                return await self._batcher.row(statement, id, *arguments)
            rows = await self._run(statement, id, *arguments)
            return rows[0] if rows else None
        finally:
            self._gate.leave()

    async def _run(self, statement: str, *arguments: Any) -> list[Record]:
        with translated_errors():
            return await self._pool.fetch(_sql.statement(statement, self.schema), *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SessionExecutor]:
        """See :meth:`Executor.transaction`."""
        async with self.connection() as connection:
            session = SessionExecutor(connection, name=self._gate.name, schema=self.schema)
            async with session.transaction() as inside:
                yield inside

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PoolConnectionProxy[Any]]:
        """A connection of the pool, for as long as the block runs."""
        self._gate.enter()
        try:
            with translated_errors(connecting=True):
                connection = await self._pool.acquire()
            try:
                yield connection
            finally:
                await self._pool.release(connection)
        finally:
            self._gate.leave()

    def require_own_loop(self) -> None:
        """Refuse to be used from another event loop."""
        self._gate.require_own_loop()

    async def close(self) -> None:
        """Refuse new calls, wait for those under way, and close a pool of our own."""
        await self._gate.close()
        if self._owned:
            await self._pool.close()


class SessionExecutor:
    """Every statement on one connection, one after another."""

    def __init__(self, connection: AnyConnection, *, name: str, schema: str) -> None:
        self.schema = schema
        self.connection = connection
        self._name = name
        self._ended = False

    async def fetch(self, statement: str, *arguments: Any) -> list[Record]:
        """See :meth:`Executor.fetch`.

        Raises:
            ConcurrentUseError: Another task's statement is under way on the connection.
            TransactionEndedError: The block of its transaction is left.
        """
        if self._ended:
            raise TransactionEndedError(self._name)
        with translated_errors():
            return await self.connection.fetch(_sql.statement(statement, self.schema), *arguments)

    async def row(self, statement: str, id: str, *arguments: Any) -> Record | None:
        """See :meth:`Executor.row`."""
        rows = await self.fetch(statement, id, *arguments)
        return rows[0] if rows else None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SessionExecutor]:
        """See :meth:`Executor.transaction`; inside another one it is a savepoint."""
        transaction = self.connection.transaction()
        with translated_errors():
            await transaction.start()
        inner = SessionExecutor(self.connection, name=self._name, schema=self.schema)
        try:
            yield inner
        except BaseException:
            # The connection may be gone, and the transaction with it: the first error counts.
            with translated_errors(), anyio.CancelScope(shield=True):
                await transaction.rollback()
            raise
        else:
            with translated_errors():
                await transaction.commit()
        finally:
            inner._ended = True


class _Gate:
    """Counts the calls under way, and lets none in from elsewhere or after the end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._loop = asyncio.get_running_loop()
        self._under_way = 0
        self._closed = False
        self._empty = anyio.Event()

    def require_own_loop(self) -> None:
        """Refuse a call from another event loop; one from outside any loop changes nothing."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return
        if running is not self._loop:
            raise WrongEventLoopError(self.name, "another event loop")

    def enter(self) -> None:
        """Begin a call; :meth:`leave` ends it."""
        self.require_own_loop()
        if self._closed:
            raise StorageClosedError(self.name)
        self._under_way += 1

    def leave(self) -> None:
        """End a call."""
        self._under_way -= 1
        if self._closed and not self._under_way:
            self._empty.set()

    async def close(self) -> None:
        """Let nobody in any more, and wait until all are out."""
        self.require_own_loop()
        self._closed = True
        if self._under_way:
            await self._empty.wait()
