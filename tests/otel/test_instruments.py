"""Metrics that are observed when somebody reads them."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import Instance
from tests.runners.conftest import next_claim
from tests.support.lag import happens

pytest.importorskip("opentelemetry.sdk", reason="the group test is not installed")

from hephaestus_pg.otel import OpenTelemetry

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage
    from tests.otel.recorded import Recorded
    from tests.support.starting import Start


async def test_storages_that_share_a_pool_report_it_once(start: Start, recorded: Recorded) -> None:
    telemetry = recorded.telemetry
    async with (
        start(telemetry=telemetry) as first,
        start(telemetry=telemetry, share=first) as second,
    ):
        await second.ping()
        assert len(recorded.points("db.client.connection.count")) == 2  # idle and used
        assert len(recorded.points("db.client.connection.count", pool=first.name)) == 2
        assert len(recorded.points("db.client.connection.max", pool=first.name)) == 1
        assert recorded.number("hephaestus_pg.calls", operation="ping", storage=second.name) == 1
        assert recorded.points("hephaestus_pg.calls", operation="ping", storage=first.name) == []


async def test_another_telemetry_of_the_same_provider_reports_too(
    start: Start, recorded: Recorded
) -> None:
    again = OpenTelemetry(recorded.tracers, recorded.meters)
    async with start(telemetry=recorded.telemetry) as one, start(telemetry=again) as other:
        await one.ping()
        await other.ping()
        assert recorded.number("hephaestus_pg.calls", operation="ping") == 2


async def test_a_storage_that_is_closed_is_observed_no_more(
    start: Start, recorded: Recorded
) -> None:
    async with start(telemetry=recorded.telemetry):
        assert recorded.points("db.client.connection.count")
    for name in ("db.client.connection.count", "hephaestus_pg.calls", "hephaestus_pg.retries"):
        assert recorded.points(name) == []


async def test_claims_and_wake_ups_are_counted(
    storage: AsyncStorage, start: Start, recorded: Recorded, asking: None
) -> None:
    async with storage.runner(workflows=["Orders"]) as runner:
        waiting = asyncio.create_task(next_claim(runner))
        await happens(lambda: recorded.number("hephaestus_pg.wake_ups"))  # it listens
        before = recorded.number("hephaestus_pg.wake_ups")
        other = await start()
        await other.put(Instance.new("Orders", {}, id="a"))
        async with await waiting:
            pass
        await happens(lambda: recorded.number("hephaestus_pg.wake_ups") > before)
        assert recorded.number("hephaestus_pg.claims") == 1
        claim = await runner.claim("a")
        assert claim is not None
        async with claim:
            pass
        assert recorded.number("hephaestus_pg.claims") == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
async def test_a_forked_process_reports_nothing_of_its_parents(
    storage: AsyncStorage, recorded: Recorded
) -> None:
    assert recorded.points("hephaestus_pg.retries")
    child = os.fork()
    if child == 0:
        os._exit(len(recorded.points("hephaestus_pg.retries")))
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
