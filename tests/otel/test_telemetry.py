"""Telemetry, with and without OpenTelemetry."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.otel.recorded import Recorded
    from tests.support.starting import Start


@pytest.mark.quick
def test_nothing_of_opentelemetry_is_imported_unless_it_is_asked_for() -> None:
    code = """
import sys, hephaestus_pg, hephaestus_pg.storage
assert not [name for name in sys.modules if "opentelemetry" in name or "otel" in name]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.quick
def test_without_the_extra_the_error_says_what_to_install() -> None:
    code = """
import sys
sys.modules["opentelemetry"] = None
import hephaestus_pg.otel
"""
    ran = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "pip install 'hephaestus_pg[otel]'" in ran.stderr


async def test_the_global_providers_are_the_default(
    start: Start, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hephaestus_pg.otel import OpenTelemetry

    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: recorded.tracers)
    monkeypatch.setattr("opentelemetry.metrics.get_meter_provider", lambda: recorded.meters)
    async with start(telemetry=OpenTelemetry()) as storage:
        await storage.ping()
        assert recorded.number("hephaestus_pg.calls", operation="ping") == 1
    [call] = recorded.calls("ping")
    scope = call.instrumentation_scope
    assert scope is not None
    assert scope.name == "hephaestus_pg"
    assert scope.schema_url == "https://opentelemetry.io/schemas/1.33.0"
