"""Calls of verbs: a span each, where the caller's trace is sampled, and how many there were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.context import attach, get_current
from opentelemetry.trace import INVALID_SPAN, get_current_span, set_span_in_context

from hephaestus_pg.execution.lifecycle import Operation
from hephaestus_pg.otel.callers import callers_span, may_be_sampled

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from hephaestus_pg.otel.reporter import Reporter


class TracedOperation(Operation):
    """A call under way, which is counted and has a span. See :class:`Operation`.

    It is on the way of every call: most of them are in traces that are not sampled.
    """

    __slots__ = ("_outer", "_reporter", "_span")

    def __init__(self, reporter: Reporter, *given: Any) -> None:
        Operation.__init__(self, *given)
        self._reporter = reporter

    def __enter__(self) -> float:
        deadline = Operation.__enter__(self)
        reporter, verb = self._reporter, self._verb
        reporter.begun[verb] += 1
        self._span: Span = INVALID_SPAN
        parent = callers_span()
        if parent is INVALID_SPAN:  # a trace would begin
            has_span = verb not in reporter.never_roots
        else:
            has_span = may_be_sampled(parent)
        if has_span:
            named = reporter.naming[verb]
            self._span = span = reporter.start_span(named.span, named.attributes)
            if span is not INVALID_SPAN:
                self._outer: Context = get_current()
                attach(set_span_in_context(span))  # not sampled: then nothing below it is
        return deadline

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._reporter.failed[self._verb, type(error).__name__] += 1
        span = self._span
        if span is not INVALID_SPAN:
            if get_current_span() is span:  # a transaction may end in another context: not detach()
                attach(self._outer)
            self._reporter.end_span(span, error)
        Operation.__exit__(self, kind, error, traceback)
