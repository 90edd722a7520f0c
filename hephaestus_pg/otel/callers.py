"""The span of whoever calls, and whether one below it would be recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.context import get_current
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, get_current_span

if TYPE_CHECKING:
    from opentelemetry.trace import Span

SUPPRESSED: Span = NonRecordingSpan(SpanContext(trace_id=1, span_id=1, is_remote=False))
"""Stands for the caller's span where instrumentation is suppressed: it has no children."""


def callers_span() -> Span:
    """The current span, unless ``suppress_instrumentation()`` asks for none in its block."""
    context = get_current()
    return SUPPRESSED if context.get("suppress_instrumentation") else get_current_span(context)


def may_be_sampled(parent: Span) -> bool:
    """``False`` where a child would not be recorded: starting one costs all the same.

    A parent in another process is sampled without recording here; without a parent a trace begins.
    """
    context = parent.get_span_context()
    is_sampled = context.trace_flags & TraceFlags.SAMPLED
    return bool(is_sampled) or parent.is_recording() or not context.is_valid
