"""Executors that report their calls and statements."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from hephaestus_pg.execution.connection_executor import ConnectionExecutor
from hephaestus_pg.execution.pool_executor import PoolExecutor
from hephaestus_pg.otel.backlog import Backlog
from hephaestus_pg.otel.calls import TracedOperation
from hephaestus_pg.otel.statements import TracedRunner, TracedStatement
from hephaestus_pg.otel.timing import MarkedRequest

if TYPE_CHECKING:
    from asyncpg import Record

    from hephaestus_pg.batching.queue import Request
    from hephaestus_pg.execution.shared_pool import SharedPool
    from hephaestus_pg.execution.statements import Statement
    from hephaestus_pg.otel.reporter import Reporter


class TracedExecutor(PoolExecutor):
    """Each statement on a connection of the pool, reported. See :class:`PoolExecutor`."""

    request: ClassVar[type[Request]] = MarkedRequest
    _runner: TracedRunner

    def __init__(self, shared: SharedPool, reporter: Reporter, **options: Any) -> None:
        self.reporter = reporter
        super().__init__(shared, **options)
        self.operation = partial(TracedOperation, reporter, self.lifecycle, self.timeout)
        self._on_connection = partial(TracedConnectionExecutor, reporter=reporter)
        self.backlog = Backlog(self)

    def _make_runner(self) -> TracedRunner:
        return TracedRunner(self._connections, self.statements, self.schema, self.reporter)

    @property
    def runner(self) -> TracedRunner:
        """The runner of its statements, which counts them."""
        return self._runner

    async def close(self) -> None:
        """See :meth:`PoolExecutor.close`."""
        await self.backlog.stop()
        await super().close()


@dataclass(slots=True)
class TracedConnectionExecutor(ConnectionExecutor):
    """Every statement on one connection, reported. See :class:`ConnectionExecutor`."""

    reporter: Reporter = field(kw_only=True)

    def operation(self, verb: str, id: str | None, timeout: float | None) -> TracedOperation:
        """See :meth:`Executor.operation`."""
        return TracedOperation(self.reporter, None, self.timeout, verb, id, timeout)

    async def fetch(self, deadline: float, statement: Statement, *arguments: Any) -> list[Record]:
        """See :meth:`Executor.fetch`."""
        with TracedStatement(self.reporter, statement.name, statement.text):
            return await ConnectionExecutor.fetch(self, deadline, statement, *arguments)
