"""Storages that report to memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hephaestus_pg import AsyncStorage
    from tests.otel.recorded import Recorded
    from tests.support.starting import Start


@pytest.fixture
def recorded() -> Recorded:
    """Telemetry that keeps what it reports."""
    pytest.importorskip("opentelemetry.sdk", reason="the group test is not installed")
    from tests.otel.recorded import Recorded

    return Recorded()


@pytest.fixture
async def storage(start: Start, migrated: str, recorded: Recorded) -> AsyncIterator[AsyncStorage]:
    """A storage that reports what it does, but for how it started."""
    async with start(name=migrated, telemetry=recorded.telemetry) as storage:
        recorded.forget()
        yield storage
