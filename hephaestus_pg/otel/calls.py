"""Calls of verbs: a span each, where the caller's trace is sampled, and how many there were."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from opentelemetry.context import attach, detach
from opentelemetry.trace import (
    INVALID_SPAN,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)

from hephaestus_pg.execution.lifecycle import Lifecycle, Operation
from hephaestus_pg.otel.naming import failure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextvars import Token
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, Tracer

    from hephaestus_pg.otel.naming import Attributes, Named, Naming


class Calls:
    """The calls of one storage."""

    def __init__(self, tracer: Tracer, naming: Naming) -> None:
        self.tracer = tracer
        self.naming = naming
        self.begun: Counter[str] = Counter()
        """Calls so far, by verb."""
        self.failed: Counter[tuple[str, str]] = Counter()
        """Those that raised, by verb and the error's class."""


class TracedOperation(Operation):
    """A call under way, which is counted and has a span. See :class:`Operation`."""

    __slots__ = ("_calls", "_span", "_token")

    def __init__(
        self,
        calls: Calls,
        lifecycle: Lifecycle | None,
        longest: float,
        verb: str,
        id: str | None,
        timeout: float | None,
    ) -> None:
        super().__init__(lifecycle, longest, verb, id, timeout)
        self._calls = calls

    def __enter__(self) -> float:
        deadline = super().__enter__()
        calls, verb = self._calls, self._verb
        calls.begun[verb] += 1
        self._span = span = start_span(calls.tracer, calls.naming[verb])
        self._token: Token[Context] | None = None
        if span is not INVALID_SPAN:
            self._token = attach(set_span_in_context(span))
        return deadline

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._calls.failed[self._verb, type(error).__name__] += 1
        if self._token is not None:
            detach(self._token)
            end_span(self._span, error)
        super().__exit__(kind, error, traceback)


def start_span(
    tracer: Tracer, named: Named, *, context: Context | None = None, links: Sequence[Link] = ()
) -> Span:
    """Starts a span, unless it is in a trace that is not sampled: most are not, and it costs."""
    parent = get_current_span(context)
    if not parent.is_recording():
        of_parent = parent.get_span_context()
        if of_parent.is_valid and not of_parent.trace_flags.sampled:
            return INVALID_SPAN
    return tracer.start_span(
        named.span,
        context,
        kind=SpanKind.CLIENT,
        attributes=named.attributes,
        links=links,
        record_exception=False,  # a message may hold an id
        set_status_on_exception=False,
    )


def end_span(span: Span, error: BaseException | None, attributes: Attributes | None = None) -> None:
    """Ends a span, with the class of the ``error`` if there was one."""
    if span.is_recording():
        if attributes:
            span.set_attributes(attributes)
        if error is not None:
            span.set_attributes(failure(error))
            span.set_status(Status(StatusCode.ERROR))
    span.end()
