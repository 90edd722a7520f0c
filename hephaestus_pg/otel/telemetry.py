"""``OpenTelemetry``: the telemetry that a storage is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import metrics, trace

from hephaestus_pg.otel.executor import TracedExecutor
from hephaestus_pg.otel.instruments import instruments_of
from hephaestus_pg.otel.naming import SCHEMA_URL
from hephaestus_pg.otel.reporter import Reporter

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from hephaestus_pg.execution.shared_pool import SharedPool


class OpenTelemetry:
    """Reports the spans and metrics of storages: ``AsyncStorage.start(telemetry=OpenTelemetry())``.

    One may serve any number of storages. Set global providers before it is made.

    Args:
        tracer_provider: Where spans go; the global one by default.
        meter_provider: Where metrics go; the global one by default.
        root_calls: A call of ``get``, ``put``, ``insert``, ``update`` or ``delete`` outside any
            trace begins one. By default its statement does, which it may share with others: where a
            sampler decides of each call, 64 callers keep 0.84 of their puts rather than 0.92.
        query_text: A statement's span has its SQL too, in which there are no values.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        root_calls: bool = False,
        query_text: bool = False,
    ) -> None:
        self._tracer = trace.get_tracer("hephaestus_pg", None, tracer_provider, SCHEMA_URL)
        self._instruments = instruments_of(meter_provider or metrics.get_meter_provider())
        self._root_calls = root_calls
        self._query_text = query_text

    def executor(
        self, shared: SharedPool, *, name: str, schema: str, batching: bool, timeout: float
    ) -> TracedExecutor:
        """See :class:`Telemetry`."""
        reporter = Reporter(
            self._tracer,
            self._instruments,
            schema=schema,
            pool_name=self._instruments.pool_name(shared, name),
            root_calls=self._root_calls,
            query_text=self._query_text,
        )
        made = TracedExecutor(
            shared, reporter, name=name, schema=schema, batching=batching, timeout=timeout
        )
        self._instruments.add(made)
        return made
