"""Runs statements on any connection of a pool, for as long as the storage is open."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from hephaestus_pg.batching.admission import Limit
from hephaestus_pg.batching.batcher import MAX_ADMITTED, Batcher
from hephaestus_pg.batching.keyed import KeyedBatcher
from hephaestus_pg.batching.queue import Request
from hephaestus_pg.driver.connection import RELEASE_SECONDS
from hephaestus_pg.driver.errors import DRIVER_ERRORS
from hephaestus_pg.driver.hooks import hook_error
from hephaestus_pg.execution.connection_executor import ConnectionExecutor
from hephaestus_pg.execution.connections import PoolConnections
from hephaestus_pg.execution.lifecycle import Lifecycle, Operation, checked_timeout
from hephaestus_pg.execution.pinned import PinnedConnection
from hephaestus_pg.execution.pool_runner import PoolRunner
from hephaestus_pg.execution.statements import statements_of
from hephaestus_pg.execution.statistics import ProcessStats
from hephaestus_pg.execution.transactions import Transactions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable

    from asyncpg import Pool, Record

    from hephaestus_pg.batching.keyed import BatchBy, KeyOf
    from hephaestus_pg.batching.queue import Run
    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.execution.connections import Connections
    from hephaestus_pg.execution.executor import Executor
    from hephaestus_pg.execution.shared_pool import SharedPool
    from hephaestus_pg.execution.statements import Statement

Result = TypeVar("Result")


class PoolExecutor:
    """Each statement on a connection of the pool. See :class:`Executor`.

    Belongs to the event loop in which it was made. With ``batching``, concurrent statements on one
    id each are sent together: all of them, or, with the pool's ``batch_by``, those for whose
    callers that gives the same value. They are not where hooks of the pool separate calls.
    """

    retries: ClassVar[bool] = True
    request: ClassVar[type[Request]] = Request
    """The class of the calls that are gathered."""

    def __init__(
        self, shared: SharedPool, *, name: str, schema: str, batching: bool, timeout: float
    ) -> None:
        self.schema = schema
        self.statements = statements_of(schema)
        self.timeout = timeout
        """Seconds that a call may take at the most."""
        self.shared = shared
        self._pool = shared.connections.pool
        self.lifecycle = Lifecycle(name)
        shared.users.add(self.lifecycle)
        self.operation: Callable[[str, str | None, float | None], Operation] = partial(
            Operation, self.lifecycle, timeout
        )
        """See :meth:`Executor.operation`."""
        self._loop = asyncio.get_running_loop()
        self._connections: Connections = shared.connections
        self._on_connection: Callable[..., ConnectionExecutor] = ConnectionExecutor
        self._runner = self._make_runner()
        self.fetch: Callable[..., Awaitable[list[Record]]] = self._runner.fetch
        """See :meth:`Executor.fetch`."""
        self.wake_ups = 0
        """News so far of what may have changed."""
        self._transactions = Transactions(self._runner, self._on)
        self._batch_sizes: Counter[int] = Counter()
        self._limit = Limit(MAX_ADMITTED)
        gathers = batching and shared.lets_share_statements(name)
        self._batcher = self._make_batcher(shared.batch_by) if gathers else None
        self.shared_by: Callable[[], Hashable] | None = object if shared.hooks else None
        """Gives equal values to callers who may share statements; ``None``: all may."""
        if shared.batch_by is not None:
            self.shared_by = partial(_key_of, shared.batch_by)
        self.row: Callable[..., Awaitable[Any]] = (
            self._row if self._batcher is None else self._batcher.row
        )
        """See :meth:`Executor.row`."""

    def _make_runner(self) -> PoolRunner:
        return PoolRunner(self._connections, self.statements, self.schema)

    def _make_batcher(
        self, batch_by: BatchBy | None, shard_of: KeyOf | None = None
    ) -> Batcher | KeyedBatcher:
        pinned = self._pinned if isinstance(self._connections, PoolConnections) else None
        make = partial(
            Batcher,
            self.fetch,
            pinned,
            limit=self._limit,
            batch_sizes=self._batch_sizes,
            request=self.request,
        )
        if shard_of is not None:
            # Shards are several, so that their batches are smaller, and several are sent at once.
            make = partial(make, num_workers=1)
        if batch_by is None:
            return make() if shard_of is None else KeyedBatcher(make, shard_of)
        # A hook of the pool sees the context of one of those who share its connection.
        make = partial(make, in_callers_context=True)

        def key_of(id: str) -> Hashable:
            return _key_of(batch_by), shard_of and shard_of(id)

        return KeyedBatcher(make, key_of)

    def gather_by_shard(self, shard_of: KeyOf) -> None:
        """Sends only calls together, from now on, whose ids lie in one shard of the table."""
        if self._batcher is not None:
            self._batcher = self._make_batcher(self.shared.batch_by, shard_of)
            self.row = self._batcher.row

    async def lowest_hashes(self) -> list[int]:
        """The lowest hash of each shard of the table, for :class:`Shards`."""
        with self.operation("shards", None, None) as deadline:
            rows = await self.fetch(deadline, self.statements.shards)
        return [int(row["lowest"]) for row in rows]

    def deadline(self, timeout: float | None) -> float:
        """See :meth:`Executor.deadline`."""
        return self._loop.time() + checked_timeout(timeout, self.timeout)

    @asynccontextmanager
    async def _pinned(self) -> AsyncIterator[Run]:
        """:meth:`fetch` for statements one after another, which mostly share a connection."""
        connection = PinnedConnection(self._pool)
        try:
            yield partial(self._runner.fetch, source=connection)
        finally:
            await connection.close()

    async def _row(self, deadline: float, statement: Statement, *arguments: Any) -> Any:
        rows = await self.fetch(deadline, statement, *arguments)
        return rows[0] if rows else None

    async def read(
        self,
        name: str,
        work: Callable[[AnyConnection], Awaitable[Result]],
        timeout: float | None = None,
    ) -> Result:
        """Runs ``work``, which only reads, on a connection of the pool, or others if it breaks."""
        with self.operation(name, None, timeout) as deadline:
            return await self._runner.run(deadline, name, work, kind="read")

    async def atomically(
        self, deadline: float, work: Callable[[Executor], Awaitable[Result]]
    ) -> Result:
        """See :meth:`Executor.atomically`."""
        commit_timeout = deadline - self._loop.time()

        async def in_transaction(connection: AnyConnection) -> Result:
            executor = self._on(connection, commit_timeout=commit_timeout)
            async with executor.transaction(deadline) as inner:
                return await work(inner)

        return await self._runner.run(
            deadline, "transaction", in_transaction, kind="idempotent", work_timeout=inf
        )

    @asynccontextmanager
    async def transaction(self, timeout: float | None = None) -> AsyncIterator[ConnectionExecutor]:
        """One connection in a transaction, which commits when the block ends without an error.

        Beginning it, each statement in it, and committing have ``timeout`` seconds each, by default
        the storage's. Only beginning is tried again: nothing of the caller's has been sent by then.
        """
        seconds = checked_timeout(timeout, self.timeout)
        with self.operation("transaction", None, timeout):
            async with self._transactions.transaction(seconds) as executor:
                self.lifecycle.transactions += 1
                try:
                    yield executor
                finally:
                    self.lifecycle.transactions -= 1

    async def lend_pool(self) -> SharedPool:
        """The pool, for another storage.

        Raises:
            StorageClosedError: This one is closed.
            WrongEventLoopError: It belongs to another event loop.
        """
        self.lifecycle.require_open()
        return self.shared

    async def close(self) -> None:
        """Refuses new calls, waits for those under way, and closes a pool that nobody uses now.

        Calls end by their deadlines. A transaction that is open for longer than the storage's
        timeout, or whose storage is closed by a caller who waits no longer, loses its connection.
        A pool of the user's own is left as it is.
        """
        try:
            with suppress(TimeoutError):
                # A call that has just begun ends at its deadline, or by the timer's next step.
                async with asyncio.timeout(self.timeout + RELEASE_SECONDS):
                    await self.lifecycle.close()
            if self.shared.leave(self.lifecycle):
                with suppress(*DRIVER_ERRORS):
                    async with asyncio.timeout(RELEASE_SECONDS):
                        await self._connections.close()
                        await self._pool.close()
        finally:
            self._runner.timeouts.stop()
            if self._batcher is not None:
                self._batcher.stop_timer()
            if self.shared.leave(self.lifecycle):
                self._pool.terminate()  # no effect on a pool that has been closed
            elif self.shared.is_ours:
                self._transactions.terminate()

    def on_connection(self, connection: AnyConnection) -> ConnectionExecutor:
        """The same statements, on one connection of the caller's alone."""
        return replace(self._on(connection), is_disposable=False)

    @property
    def pool(self) -> Pool[Any]:
        """The pool, as a pattern for connections outside it."""
        return self._pool

    def stats(self) -> ProcessStats:
        """The figures of this moment."""
        batchers = [] if self._batcher is None else self._batcher.batchers
        idle = self._pool.get_idle_size() + self._connections.idle
        return ProcessStats(
            connections_in_use=self._pool.get_size() - idle,
            connections_idle=idle,
            connections_waited_for=self._runner.waiting,
            calls_under_way=self.lifecycle.under_way,
            calls_queued=self._limit.inside,
            calls_outside=self._limit.waiting,
            ids_held=sum(batcher.ids_held for batcher in batchers),
            statements_under_way=sum(batcher.statements_under_way for batcher in batchers),
            batch_sizes=dict(sorted(self._batch_sizes.items())),
            failed_tries=self._runner.failed_tries,
        )

    def _on(
        self,
        connection: AnyConnection,
        *,
        timeout: float | None = None,
        commit_timeout: float | None = None,
    ) -> ConnectionExecutor:
        return self._on_connection(
            connection,
            name=self.lifecycle.name,
            schema=self.schema,
            statements=self.statements,
            timeout=timeout or self.timeout,
            commit_timeout=self.timeout if commit_timeout is None else commit_timeout,
            is_disposable=True,
        )


def _key_of(batch_by: BatchBy) -> Hashable:
    try:
        return batch_by()
    except Exception as error:
        if (ours := hook_error(error, "batch_by")) is None:
            raise
        raise ours from error
