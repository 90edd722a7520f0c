"""``OpenTelemetry``: what a storage is given to report by."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from opentelemetry import metrics, trace

from hephaestus_pg.otel.executor import TracedExecutor
from hephaestus_pg.otel.instruments import instruments_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider


class OpenTelemetry:
    """Reports the spans and metrics of storages: ``AsyncStorage.start(telemetry=OpenTelemetry())``.

    One may serve any number of storages. Set global providers before it is made.

    Args:
        tracer_provider: Where spans go; the global one by default.
        meter_provider: Where metrics go; the global one by default.
        query_text: A statement's span has its SQL too, in which there are no values.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        query_text: bool = False,
    ) -> None:
        tracer = trace.get_tracer("hephaestus_pg", tracer_provider=tracer_provider)
        instruments = instruments_of(meter_provider or metrics.get_meter_provider())
        self.executor: Callable[..., TracedExecutor] = partial(
            TracedExecutor, tracer=tracer, instruments=instruments, query_text=query_text
        )
        """See :class:`Telemetry`."""
