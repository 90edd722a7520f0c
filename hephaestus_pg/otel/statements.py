"""Statements on the server: a span each, and how long each waited, gathered and ran."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, set_span_in_context

from hephaestus_pg.execution.pool_runner import PoolRunner
from hephaestus_pg.otel.callers import SUPPRESSED, callers_span, may_be_sampled
from hephaestus_pg.otel.naming import failure
from hephaestus_pg.otel.timing import MarkedRequest, TimedConnections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from asyncpg import Record
    from opentelemetry.trace import Span

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.execution.connections import Connections
    from hephaestus_pg.execution.fencing import Backend
    from hephaestus_pg.execution.pool_runner import Tries
    from hephaestus_pg.execution.statements import Statement, Statements
    from hephaestus_pg.otel.naming import Attributes
    from hephaestus_pg.otel.reporter import Reporter

Result = TypeVar("Result")

_CLAIMS = frozenset({"claim", "claim_one", "claim_one_many"})


class TracedRunner(PoolRunner):
    """Runs work on the pool, and reports it. See :class:`PoolRunner`."""

    def __init__(
        self, connections: Connections, statements: Statements, schema: str, reporter: Reporter
    ) -> None:
        super().__init__(connections, statements, schema)
        self._reporter = reporter
        self.retries = 0
        """Tries so far that followed another one."""
        self.backends_terminated = 0
        """Backends so far that were ended because a lost write could still go on."""
        self.claims = 0
        """Instances so far that were claimed."""

    def fetch(
        self,
        deadline: float,
        statement: Statement,
        *arguments: Any,
        source: Connections | None = None,
        work_timeout: float | None = None,
        batch: Sequence[MarkedRequest] = (),
    ) -> Awaitable[list[Record]]:
        """See :class:`PoolRunner`; the ``batch`` are the requests that the statement answers."""
        if batch:
            source = TimedConnections(source or self.connections, self._reporter.naming, batch)
        return super().fetch(
            deadline, statement, *arguments, source=source, work_timeout=work_timeout
        )

    async def run_all(self, tries: Tries[Result]) -> Result:
        """See :class:`PoolRunner`."""
        source = tries.source
        if not isinstance(source, TimedConnections):
            source = tries.source = TimedConnections(source, self._reporter.naming)
        name = f"BATCH {tries.name.removesuffix('_many')}" if tries.is_batch else tries.name
        try:
            with TracedStatement(self._reporter, name, tries.text, source):
                result = await super().run_all(tries)
        finally:
            self.retries += max(source.tries - 1, 0)
        if tries.name in _CLAIMS and isinstance(result, list):
            self.claims += len(result)
        return result

    @asynccontextmanager
    async def lent(self, deadline: float) -> AsyncIterator[AnyConnection]:
        """See :class:`PoolRunner`."""
        reporter, meters = self._reporter, self._reporter.meters
        began = monotonic()
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(super().lent(deadline))
            finally:
                acquired = monotonic()
                reporter.record(meters.wait_time, acquired - began, reporter.of_pool)
            try:
                yield connection
            finally:
                reporter.record(meters.use_time, monotonic() - acquired, reporter.of_pool)

    async def fence(self, backend: Backend, deadline: float) -> bool:
        """See :class:`PoolRunner`."""
        is_gone = await super().fence(backend, deadline)
        self.backends_terminated += is_gone
        return is_gone


class TracedStatement:
    """The ``with`` block of a statement: its span, and what is recorded when it ends."""

    __slots__ = ("_began", "_name", "_reporter", "_source", "_span", "_text")

    def __init__(
        self, reporter: Reporter, name: str, text: str, source: TimedConnections | None = None
    ) -> None:
        self._reporter = reporter
        self._name = name
        self._text = text
        self._source = source

    def __enter__(self) -> None:
        self._began = monotonic()
        batch = () if self._source is None else self._source.batch
        self._span: Span = INVALID_SPAN
        if len(batch) > 1:
            if any(each.span is not SUPPRESSED for each in batch):
                # Of its callers it belongs to none.
                self._span = self._start(Context(), [each.span for each in _recording(batch)])
            return
        parent = batch[0].span if batch else callers_span()
        if may_be_sampled(parent):
            self._span = self._start(set_span_in_context(parent))

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        seconds = monotonic() - self._began
        reporter, source = self._reporter, self._source
        attributes = reporter.naming[self._name].attributes  # of the server that is known by now
        if error is not None:
            attributes = {**attributes, **failure(error)}
        reporter.record(reporter.meters.duration, seconds, attributes)
        times: Attributes = {}
        if source is not None:
            reporter.record(reporter.meters.wait_time, source.waited, reporter.of_pool)
            if source.executing:  # else it had no connection
                reporter.record(reporter.meters.use_time, source.executing, reporter.of_pool)
            times = {
                "hephaestus_pg.connection.wait_time": source.waited,
                "hephaestus_pg.execution.duration": source.executing,
                "hephaestus_pg.tries": source.tries,
            }
            if source.batch:
                self._report_batch(source.batch, times)
        if self._span.is_recording():
            reporter.end_span(self._span, error, {**attributes, **times})

    def _start(self, context: Context, callers: Sequence[Span] = ()) -> Span:
        reporter = self._reporter
        named = reporter.naming[self._name]
        attributes = {**named.attributes, "db.query.summary": named.span}
        if self._text and reporter.query_text:
            attributes["db.query.text"] = self._text
        links = [Link(each.get_span_context()) for each in callers]
        return reporter.start_span(named.span, attributes, context, links)

    def _report_batch(self, batch: Sequence[MarkedRequest], times: Attributes) -> None:
        """Records a batch, and tells each call's span its part in it."""
        size = len(batch)
        reporter = self._reporter
        gathering = self._began - min([each.queued_at for each in batch])
        # One attribute, since each makes recording dearer.
        of_verb: Attributes = {"db.operation.name": self._name.removeprefix("BATCH ")}
        reporter.record(reporter.meters.gathering, gathering, of_verb)
        if size > 1:  # the conventions know no batch of one
            times["db.operation.batch.size"] = size
        for each in _recording(batch):
            own = self._began - each.queued_at
            each.span.set_attributes({**times, "hephaestus_pg.gathering.duration": own})
            if size > 1 and self._span.is_recording():
                each.span.add_link(self._span.get_span_context())
        times["hephaestus_pg.gathering.duration"] = gathering


def _recording(batch: Sequence[MarkedRequest]) -> list[MarkedRequest]:
    """The requests whose calls have spans that are recorded."""
    return [each for each in batch if each.span.is_recording()]
