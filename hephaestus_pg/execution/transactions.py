"""Transactions of callers on connections of a pool: how they begin, and the end of those left."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from hephaestus_pg.driver.connection import terminate
from hephaestus_pg.execution import retrying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.errors import DatabaseError
    from hephaestus_pg.execution.connection_executor import ConnectionExecutor
    from hephaestus_pg.execution.pool_runner import PoolRunner


class Transactions:
    """Transactions on connections that the ``runner`` lends; ``on`` makes the executor on one."""

    def __init__(self, runner: PoolRunner, on: Callable[..., ConnectionExecutor]) -> None:
        self._runner = runner
        self._on = on
        self._open: set[AnyConnection] = set()
        """The connections of those under way."""

    @asynccontextmanager
    async def transaction(self, seconds: float) -> AsyncIterator[ConnectionExecutor]:
        """See :meth:`PoolExecutor.transaction`."""
        begun, executor = await self._begin(seconds)
        try:
            async with begun:
                yield executor
        except Exception as error:
            await self._runner.expire_after(error)
            raise

    def terminate(self) -> None:
        """Cuts off the connections of those under way."""
        for connection in self._open:
            terminate(connection)

    async def _begin(self, seconds: float) -> tuple[AsyncExitStack, ConnectionExecutor]:
        """Begins a transaction; with it comes what ends it and gives its connection back."""
        runner = self._runner
        deadline = runner.loop.time() + seconds

        async def begin() -> tuple[AsyncExitStack, ConnectionExecutor]:
            async with AsyncExitStack() as stack:
                connection = await stack.enter_async_context(runner.lent(deadline))
                self._open.add(connection)
                stack.callback(self._open.discard, connection)
                executor = self._on(connection, timeout=seconds, commit_timeout=seconds)
                inner = await stack.enter_async_context(
                    executor.transaction(deadline, checked=True)
                )
                return stack.pop_all(), inner

        async def on_failure(error: DatabaseError) -> None:
            runner.failed_tries += 1
            error.applied = "no"  # nothing of the caller's had been sent
            await runner.expire_after(error)

        return await retrying.run(
            begin,
            retrying.IDEMPOTENT,
            deadline,
            name="the beginning of a transaction",
            schema=runner.schema,
            on_failure=on_failure,
        )
