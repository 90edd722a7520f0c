"""Errors of the SDK, which may run code of the user's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import Instance

pytest.importorskip("opentelemetry.sdk", reason="the group test is not installed")

from opentelemetry.sdk.trace import SpanProcessor

from tests.otel.recorded import Recorded

if TYPE_CHECKING:
    from tests.support.starting import Start


@pytest.mark.parametrize("batching", (True, False))
@pytest.mark.parametrize("failing", ("should_sample", "on_start", "on_end", "record"))
async def test_what_telemetry_raises_breaks_no_call(
    start: Start,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
    batching: bool,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    recorded = Recorded()
    processor = SpanProcessor()
    recorded.tracers.add_span_processor(processor)
    async with start(telemetry=recorded.telemetry, batching=batching) as storage:
        meters = recorded.telemetry._instruments
        for each in (recorded.tracers.sampler, processor, meters.duration, meters.gathering):
            if hasattr(each, failing):
                monkeypatch.setattr(each, failing, fail)
        puts = [storage.put(Instance.new("Orders", {}, id=f"a{i}")) for i in range(5)]
        assert len(await asyncio.gather(*puts)) == 5
        async with storage.transaction() as transaction:
            assert await transaction.get("a1")
        assert storage.process_stats().calls_under_way == 0
    [line] = [each for each in caplog.records if each.levelname == "WARNING"]
    assert line.exc_info
