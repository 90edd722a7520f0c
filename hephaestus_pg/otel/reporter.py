"""Reports the calls and statements of one storage to the SDK, whose errors break none of them."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from opentelemetry.trace import INVALID_SPAN, SpanKind, Status, StatusCode

from hephaestus_pg.otel.naming import Naming, failure

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from opentelemetry.context import Context
    from opentelemetry.metrics import Histogram
    from opentelemetry.trace import Link, Span, Tracer

    from hephaestus_pg.otel.naming import Attributes

logger = logging.getLogger("hephaestus_pg")

GATHERED = frozenset({"get", "put", "insert", "update", "delete"})
"""Verbs of which many share a statement: to have a sampler decide of each is dear."""


class Meters:
    """The histograms of statements, in seconds; recording each call would cost as much again."""

    duration: Histogram
    wait_time: Histogram
    use_time: Histogram
    gathering: Histogram


class Reporter:
    """Starts and ends the spans of one storage, records its times, and counts its calls."""

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        tracer: Tracer,
        meters: Meters,
        *,
        schema: str,
        pool_name: str,
        root_calls: bool,
        query_text: bool,
    ) -> None:
        self._tracer = tracer
        self.meters = meters
        self.naming = Naming(schema)
        self.pool_name = pool_name
        self.of_pool: Attributes = {"db.client.connection.pool.name": pool_name}
        self.never_roots: Container[str] = frozenset() if root_calls else GATHERED
        """Verbs whose calls have no span where they would begin a trace."""
        self.query_text = query_text
        self.begun: Counter[str] = Counter()
        """Calls so far, by verb."""
        self.failed: Counter[tuple[str, str]] = Counter()
        """Those that raised, by verb and the error's class."""
        self._level = logging.WARNING

    def start_span(
        self,
        name: str,
        attributes: Attributes,
        context: Context | None = None,
        links: Iterable[Link] = (),
    ) -> Span:
        """Starts a span in the ``context``, by default the current one, if the sampler lets it."""
        try:
            return self._tracer.start_span(
                name,
                context,
                SpanKind.CLIENT,
                attributes,
                list(links),
                record_exception=False,  # a message may hold an id
                set_status_on_exception=False,
            )
        except Exception:  # noqa: BLE001 - a sampler or a processor may raise anything
            self._log()
            return INVALID_SPAN

    def end_span(
        self, span: Span, error: BaseException | None, attributes: Attributes | None = None
    ) -> None:
        """Ends a span, with the class of the ``error`` if there was one."""
        try:
            if attributes:
                span.set_attributes(attributes)
            if error is not None:
                span.set_attributes(failure(error))
                span.set_status(Status(StatusCode.ERROR))
            span.end()
        except Exception:  # noqa: BLE001 - a processor may raise anything
            self._log()

    def record(self, histogram: Histogram, seconds: float, attributes: Attributes) -> None:
        """Records a time."""
        try:
            histogram.record(seconds, attributes)
        except Exception:  # noqa: BLE001 - a view of the user's may raise anything
            self._log()

    def _log(self) -> None:
        logger.log(self._level, "telemetry failed, and reports no more than it can", exc_info=True)
        self._level = logging.DEBUG  # one line is enough of what may go wrong at each call
