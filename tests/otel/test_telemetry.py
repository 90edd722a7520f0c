"""Telemetry, with and without OpenTelemetry."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage


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


@pytest.mark.quick
async def test_the_global_providers_are_the_default(storage: AsyncStorage) -> None:
    otel = pytest.importorskip("opentelemetry.trace")
    from hephaestus_pg.otel import OpenTelemetry

    assert OpenTelemetry() is not None
    assert otel.get_tracer_provider() is not None
