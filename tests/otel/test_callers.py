"""Callers who want no spans."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import Instance

pytest.importorskip("opentelemetry.sdk", reason="the group test is not installed")

from opentelemetry.context import attach, detach, set_value

from tests.otel.recorded import Recorded

if TYPE_CHECKING:
    from tests.support.starting import Start


@pytest.mark.parametrize("batching", (True, False))
async def test_where_instrumentation_is_suppressed_calls_are_counted_without_spans(
    start: Start, batching: bool
) -> None:
    recorded = Recorded()
    async with start(telemetry=recorded.telemetry, batching=batching) as storage:
        recorded.forget()
        # As suppress_instrumentation() of opentelemetry-instrumentation does.
        token = attach(set_value("suppress_instrumentation", True))
        with recorded.tracer.start_as_current_span("request"):
            await storage.ping()
            await asyncio.gather(*[storage.put(Instance(f"a{i}", "Orders")) for i in range(5)])
            async with storage.transaction() as transaction:
                await transaction.get("a1")
        await storage.get("a1")
        detach(token)
        assert [each.name for each in recorded.spans] == ["request"]
        assert recorded.number("hephaestus_pg.calls", operation="put") == 5
        await storage.ping()
    assert len(recorded.calls("ping")) == 1
