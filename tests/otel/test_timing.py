"""Times of statements."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.lag import happens

pytest.importorskip("opentelemetry.sdk", reason="the group test is not installed")

from tests.otel.recorded import Recorded, given

if TYPE_CHECKING:
    from tests.support.starting import Start


async def test_waiting_for_a_connection_is_told_apart_from_execution(
    start: Start, recorded: Recorded
) -> None:
    async with start(telemetry=recorded.telemetry, max_size=1) as storage:
        async with storage.transaction():
            waiting = asyncio.create_task(storage.ping())
            await happens(lambda: storage.process_stats().connections_waited_for == 1)
            assert recorded.number("db.client.connection.pending_requests") == 1
            assert recorded.number("db.client.connection.count", state="used") == 1
            assert recorded.number("db.client.connection.max") == 1
        await waiting
    [statement] = recorded.statements("ping")
    told = given(statement)
    assert told["hephaestus_pg.connection.wait_time"] > 0
    assert told["hephaestus_pg.execution.duration"] > 0
