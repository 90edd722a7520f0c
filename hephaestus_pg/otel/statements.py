"""Statements on the server: a span each, and how long each waited, gathered and ran."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeVar

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, set_span_in_context

from hephaestus_pg.execution.pool_runner import PoolRunner
from hephaestus_pg.otel.calls import Calls, current_call, end_span, start_span
from hephaestus_pg.otel.naming import failure
from hephaestus_pg.otel.timing import MarkedRequest, TimedConnections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from types import TracebackType

    from asyncpg import Record
    from opentelemetry.metrics import Histogram
    from opentelemetry.trace import Span

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.execution.connections import Connections
    from hephaestus_pg.execution.fencing import Backend
    from hephaestus_pg.execution.statements import Kind, Statement, Statements
    from hephaestus_pg.otel.naming import Attributes

Result = TypeVar("Result")

_CLAIMS = frozenset({"claim", "claim_one", "claim_one_many"})


class Meters:
    """What is recorded of each statement, in seconds: not of each call, since it costs as much."""

    duration: Histogram
    wait_time: Histogram
    gathering: Histogram


class Watched:
    """What statements of one storage are reported by."""

    def __init__(self, calls: Calls, meters: Meters, pool_name: str, *, query_text: bool) -> None:
        self.tracer = calls.tracer
        self.naming = calls.naming
        self.meters = meters
        self.pool_name = pool_name
        self._of_pool: Attributes = {"db.client.connection.pool.name": pool_name}
        self._query_text = query_text

    def statement(
        self, operation: str, text: str, source: TimedConnections | None = None
    ) -> Observed:
        """The ``with`` block of a statement: its span, and what is recorded of it."""
        return Observed(self, operation, text if self._query_text else "", source)

    def waited(self, seconds: float) -> None:
        """Records how long somebody waited for a connection of the pool."""
        self.meters.wait_time.record(seconds, self._of_pool)


class TracedRunner(PoolRunner):
    """Runs work on the pool, and reports it. See :class:`PoolRunner`."""

    def __init__(
        self, connections: Connections, statements: Statements, schema: str, watched: Watched
    ) -> None:
        super().__init__(connections, statements, schema)
        self._watched = watched
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
        batch: Sequence[MarkedRequest] = (),
    ) -> Awaitable[list[Record]]:
        """See :class:`PoolRunner`; the ``batch`` are the requests that the statement answers."""
        timed = TimedConnections(source or self.connections, self._watched.naming, batch)
        return super().fetch(deadline, statement, *arguments, source=timed)

    async def run(  # noqa: PLR0913 - as in PoolRunner
        self,
        deadline: float,
        name: str,
        work: Callable[[AnyConnection], Awaitable[Result]],
        *,
        kind: Kind,
        bounded: bool = True,
        is_batch: bool = False,
        text: str = "",
        source: Connections | None = None,
    ) -> Result:
        """See :class:`PoolRunner`."""
        if not isinstance(source, TimedConnections):
            source = TimedConnections(source or self.connections, self._watched.naming)
        operation = f"BATCH {name.removesuffix('_many')}" if is_batch else name
        try:
            with self._watched.statement(operation, text, source):
                result = await super().run(
                    deadline,
                    name,
                    work,
                    kind=kind,
                    bounded=bounded,
                    is_batch=is_batch,
                    text=text,
                    source=source,
                )
        finally:
            self.retries += max(source.tries - 1, 0)
        if name in _CLAIMS and isinstance(result, list):
            self.claims += len(result)
        return result

    @asynccontextmanager
    async def lent(self, deadline: float) -> AsyncIterator[AnyConnection]:
        """See :class:`PoolRunner`."""
        began = monotonic()
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(super().lent(deadline))
            finally:
                self._watched.waited(monotonic() - began)
            yield connection

    async def fence(self, backend: Backend, deadline: float) -> bool:
        """See :class:`PoolRunner`."""
        is_gone = await super().fence(backend, deadline)
        self.backends_terminated += is_gone
        return is_gone


class Observed:
    """A statement under way: its span and what is recorded when it ends."""

    __slots__ = ("_began", "_operation", "_source", "_span", "_text", "_watched")

    def __init__(
        self, watched: Watched, operation: str, text: str, source: TimedConnections | None
    ) -> None:
        self._watched = watched
        self._operation = operation
        self._text = text
        self._source = source

    def __enter__(self) -> Self:
        self._began = monotonic()
        watched = self._watched
        batch = () if self._source is None else self._source.batch
        named = watched.naming[self._operation]
        self._span: Span = INVALID_SPAN
        if len(batch) > 1:
            links = [Link(span.get_span_context()) for _, span in _recording(batch)]
            # Of its callers it belongs to none.
            self._span = start_span(watched.tracer, named, Context(), links)
            return self
        call = batch[0].span if batch else current_call.get()
        if call is None:
            self._span = start_span(watched.tracer, named)
        elif call.is_recording():
            self._span = start_span(watched.tracer, named, set_span_in_context(call))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = monotonic() - self._began
        watched, source = self._watched, self._source
        named = watched.naming[self._operation]
        times: Attributes = {}
        if source is not None:
            watched.waited(source.waited)
            times = {
                "hephaestus_pg.connection.wait_time": source.waited,
                "hephaestus_pg.execution.duration": source.executing,
                "hephaestus_pg.tries": source.tries,
            }
            if source.batch:
                self._report_batch(source.batch, times)
        attributes = named.attributes
        if error is not None:
            attributes = {**attributes, **failure(error)}
        watched.meters.duration.record(seconds, attributes)
        if self._span.is_recording():
            times.update(named.attributes)  # of the server that is known by now
            times["db.query.summary"] = named.span
            if self._text:
                times["db.query.text"] = self._text
        end_span(self._span, error, times)

    def _report_batch(self, batch: Sequence[MarkedRequest], times: Attributes) -> None:
        """Records a batch, and tells each call's span its part in it."""
        size = len(batch)
        gathering = self._began - min([each.queued_at for each in batch])
        meters = self._watched.meters
        # One attribute, since each makes recording dearer.
        of_verb = {"db.operation.name": self._operation.removeprefix("BATCH ")}
        meters.gathering.record(gathering, of_verb)
        if size > 1:  # the conventions know no batch of one
            times["db.operation.batch.size"] = size
        for each, span in _recording(batch):
            own = self._began - each.queued_at
            span.set_attributes({**times, "hephaestus_pg.gathering.duration": own})
            if size > 1 and self._span.is_recording():
                span.add_link(self._span.get_span_context())
        times["hephaestus_pg.gathering.duration"] = gathering


def _recording(batch: Sequence[MarkedRequest]) -> list[tuple[MarkedRequest, Span]]:
    """The requests whose calls have spans that are recorded, and these."""
    return [
        (each, each.span) for each in batch if each.span is not None and each.span.is_recording()
    ]
