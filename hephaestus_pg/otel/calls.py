"""Calls of verbs: a span each, where the caller's trace is sampled, and how many there were."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING, ClassVar

from opentelemetry.context import attach, detach
from opentelemetry.trace import (
    INVALID_SPAN,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from hephaestus_pg.execution.lifecycle import Operation
from hephaestus_pg.otel.naming import failure

if TYPE_CHECKING:
    from collections.abc import Container, Sequence
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, Tracer

    from hephaestus_pg.otel.naming import Attributes, Named, Naming


current_call: ContextVar[Span | None] = ContextVar("current_call", default=None)
"""The span of the call that is under way, recording or not; ``None``: there is none."""


GATHERED = frozenset({"get", "put", "insert", "update", "delete"})
"""Verbs of which many share a statement: to have a sampler decide of each is dear."""


class Calls:
    """The calls of one storage."""

    def __init__(self, tracer: Tracer, naming: Naming, *, root_calls: bool) -> None:
        self.tracer = tracer
        self.never_roots: Container[str] = frozenset() if root_calls else GATHERED
        """Verbs whose calls have no span where they would begin a trace."""
        self.naming = naming
        self.begun: Counter[str] = Counter()
        """Calls so far, by verb."""
        self.failed: Counter[tuple[str, str]] = Counter()
        """Those that raised, by verb and the error's class."""
        self.operation = TracedOperation.of(self)
        """The class of one of them."""


class TracedOperation(Operation):
    """A call under way, which is counted and has a span. See :class:`Operation`.

    It is on the way of every call: most of them are in traces that are not sampled.
    """

    __slots__ = ("_outer", "_span", "_token")

    _calls: ClassVar[Calls]

    @classmethod
    def of(cls, calls: Calls) -> type[TracedOperation]:
        """Returns the class of the calls of one storage: to tell each call its own would cost."""
        return type(cls.__name__, (cls,), {"__slots__": (), "_calls": calls})

    def __enter__(self) -> float:
        calls, verb = self._calls, self._verb
        span: Span | None = None
        if self._may_have_span():
            span = start_span(calls.tracer, calls.naming[verb])
        deadline = Operation.__enter__(self)  # only now, lest what a sampler raises leaves it open
        calls.begun[verb] += 1
        self._span = span
        if span is not None:
            self._token = attach(set_span_in_context(span)) if span.is_recording() else None
            self._outer = current_call.get()
            current_call.set(span)
        return deadline

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._calls.failed[self._verb, type(error).__name__] += 1
        if self._span is not None:
            current_call.set(self._outer)  # not reset(): a transaction may end in another context
            if self._token is not None:
                detach(self._token)
                end_span(self._span, error)
        Operation.__exit__(self, kind, error, traceback)

    def _may_have_span(self) -> bool:
        """``False`` where it would not be recorded: starting one costs all the same."""
        parent = get_current_span()
        if parent is INVALID_SPAN:  # one that begins a trace, unless it is part of a call
            return self._verb not in self._calls.never_roots and current_call.get() is None
        context = parent.get_span_context()
        is_sampled = context.trace_flags & TraceFlags.SAMPLED  # maybe in another process
        return parent.is_recording() or bool(is_sampled) or not context.is_valid


def start_span(
    tracer: Tracer, named: Named, context: Context | None = None, links: Sequence[Link] = ()
) -> Span:
    """Starts a span, if its sampler lets it, in the ``context`` or the current one."""
    return tracer.start_span(
        named.span,
        context,
        SpanKind.CLIENT,
        named.attributes,
        links,
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
