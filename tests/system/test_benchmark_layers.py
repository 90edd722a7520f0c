"""The account of what takes how long of a call: it counts each moment once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

# The tests run on the built wheel too, where there are none.
pytest.importorskip("benchmarks")
pytest.importorskip("psutil")

from benchmarks.fresh_process import alone
from benchmarks.ledger import (
    DECODING,
    FETCH,
    LAYERS,
    LOOP,
    PATH,
    RECEIVING,
    SENDING,
    WAITING,
    Ledger,
)
from benchmarks.scenarios.profile import profiled


def test_each_moment_is_charged_to_the_layer_that_runs_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0

    async def spend(first: int, then: int) -> None:
        nonlocal now
        now += first
        await asyncio.sleep(0)
        now += then

    monkeypatch.setattr("benchmarks.ledger.time", SimpleNamespace(perf_counter_ns=lambda: now))
    monkeypatch.setattr(asyncpg.Connection, "fetch", spend)
    fetch: Any = asyncpg.Connection
    ledger = Ledger()

    async def run() -> tuple[int, dict[str, int]]:
        ledger.start()
        await asyncio.gather(fetch.fetch(2, 3), spend(10, 20), fetch.fetch(100, 200))
        return ledger.stop()

    with ledger.hooked(), asyncio.Runner(loop_factory=ledger.loop) as runner:
        whole, spent = runner.run(run())
    assert whole == 335
    assert {layer: part for layer, part in spent.items() if part} == {FETCH: 305, PATH: 30}
    assert vars(asyncpg.Connection)["fetch"] is spend  # it is left as it was


def test_the_layers_of_a_call_add_up_to_it(database: str) -> None:
    figures = alone(profiled, "ours", database, "get", 1, 0.05)
    assert sum(figures[layer] for layer in LAYERS) == pytest.approx(figures["counted"])
    for layer in (PATH, DECODING, FETCH, SENDING, RECEIVING, LOOP, WAITING):
        assert figures[layer] > 0, layer
    assert figures["uncounted"] > 0
