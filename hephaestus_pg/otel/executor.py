"""Executors that report their calls and statements."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from hephaestus_pg.execution.connection_executor import ConnectionExecutor
from hephaestus_pg.execution.pool_executor import PoolExecutor
from hephaestus_pg.otel.backlog import Backlog
from hephaestus_pg.otel.calls import Calls, TracedOperation
from hephaestus_pg.otel.naming import Naming
from hephaestus_pg.otel.statements import TracedRunner, Watched
from hephaestus_pg.otel.timing import MarkedRequest

if TYPE_CHECKING:
    from asyncpg import Record
    from opentelemetry.trace import Tracer

    from hephaestus_pg.batching.queue import Request
    from hephaestus_pg.execution.shared_pool import SharedPool
    from hephaestus_pg.execution.statements import Statement
    from hephaestus_pg.otel.statements import Meters


class TracedExecutor(PoolExecutor):
    """Each statement on a connection of the pool, reported. See :class:`PoolExecutor`."""

    request: ClassVar[type[Request]] = MarkedRequest
    _runner: TracedRunner

    def __init__(  # noqa: PLR0913 - as in PoolExecutor, and what reports
        self,
        shared: SharedPool,
        *,
        name: str,
        schema: str,
        batching: bool,
        timeout: float,
        tracer: Tracer,
        meters: Meters,
        pool_name: str,
        query_text: bool,
        root_calls: bool,
    ) -> None:
        self.calls = Calls(tracer, Naming(schema), root_calls=root_calls)
        self.watched = Watched(self.calls, meters, pool_name, query_text=query_text)
        super().__init__(shared, name=name, schema=schema, batching=batching, timeout=timeout)
        self.operation = partial(self.calls.operation, self.lifecycle, timeout)
        self._on_connection = partial(
            TracedConnectionExecutor, calls=self.calls, watched=self.watched
        )
        self.backlog = Backlog(self)

    def _make_runner(self) -> TracedRunner:
        return TracedRunner(self._connections, self.statements, self.schema, self.watched)

    @property
    def runner(self) -> TracedRunner:
        """What runs its statements, and counts them."""
        return self._runner

    async def close(self) -> None:
        """See :meth:`PoolExecutor.close`."""
        await self.backlog.stop()
        await super().close()


@dataclass(slots=True)
class TracedConnectionExecutor(ConnectionExecutor):
    """Every statement on one connection, reported. See :class:`ConnectionExecutor`."""

    calls: Calls = field(kw_only=True)
    watched: Watched = field(kw_only=True)

    def operation(self, verb: str, id: str | None, timeout: float | None) -> TracedOperation:
        """See :meth:`Executor.operation`."""
        return self.calls.operation(None, self.timeout, verb, id, timeout)

    async def fetch(self, deadline: float, statement: Statement, *arguments: Any) -> list[Record]:
        """See :meth:`Executor.fetch`."""
        with self.watched.statement(statement.name, statement.text):
            return await ConnectionExecutor.fetch(self, deadline, statement, *arguments)
