"""What telemetry reports, kept in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler

from hephaestus_pg.otel import OpenTelemetry

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.sampling import SamplingResult


KEYS = {
    "operation": "db.operation.name",
    "error": "error.type",
    "state": "db.client.connection.state",
    "pool": "db.client.connection.pool.name",
    "storage": "hephaestus_pg.storage",
    "size": "hephaestus_pg.batch.size",
    "workflow": "hephaestus_pg.workflow",
}
"""Short names of attributes, to ask for."""


class Recorded:
    """Telemetry, and what it has reported."""

    def __init__(self, sampler: Sampler | None = None, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        options = {"root_calls": True, **options}
        self.telemetry = OpenTelemetry(self.tracers, self.meters, **options)
        self.tracer = self.tracers.get_tracer("test")

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in that order."""
        return list(self._exporter.get_finished_spans())

    def forget(self) -> None:
        """Forget the spans so far."""
        self._exporter.clear()

    def calls(self, verb: str) -> list[ReadableSpan]:
        """The spans of the calls of a verb."""
        return [each for each in self._of(verb) if "db.query.summary" not in given(each)]

    def statements(self, operation: str) -> list[ReadableSpan]:
        """The spans of the statements of an operation."""
        return [each for each in self._of(operation) if "db.query.summary" in given(each)]

    def _of(self, operation: str) -> list[ReadableSpan]:
        return [each for each in self.spans if given(each).get(KEYS["operation"]) == operation]

    def points(self, metric: str, /, **attributes: object) -> list[Any]:
        """The points of a metric with those attributes, each by its short name."""
        wanted = {KEYS[key]: value for key, value in attributes.items()}
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for each in scope.metrics
            if each.name == metric
            for point in each.data.data_points
            if wanted.items() <= dict(point.attributes or {}).items()
        ]

    def number(self, metric: str, /, **attributes: object) -> Any:
        """The sum of the points of a counter."""
        return sum(point.value for point in self.points(metric, **attributes))


def given(span: ReadableSpan) -> dict[str, Any]:
    """The attributes of a span."""
    return dict(span.attributes or {})


class Every(Sampler):
    """Samples the traces that begin with one verb."""

    def __init__(self, verb: str) -> None:
        self._verb = verb

    def should_sample(
        self, parent_context: Context | None, trace_id: int, name: str, *given: Any, **named: Any
    ) -> SamplingResult:
        sampler = ALWAYS_ON if name.startswith(self._verb) else ALWAYS_OFF
        return ParentBased(sampler).should_sample(parent_context, trace_id, name, *given, **named)

    def get_description(self) -> str:
        return f"traces of {self._verb}"
