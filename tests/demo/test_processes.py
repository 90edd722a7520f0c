from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import HephaestusError, Instance
from hephaestus_pg.demo.processes import Processes
from hephaestus_pg.demo.witness import Work
from tests.support.catalog import WAIT_SECONDS
from tests.support.lag import happens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hephaestus_pg import AsyncStorage

WORK = Work("order::1", "Reserve", runner=1, receipt="a", token=5)


@pytest.fixture
def said() -> list[str]:
    """The lines about events."""
    return []


@pytest.fixture
async def processes(storage: AsyncStorage, said: list[str]) -> Processes:
    return Processes(storage, "", lease=0.2, say=said.append)


@asynccontextmanager
async def kept(processes: Processes, number: int = 1) -> AsyncIterator[None]:
    """So many runners, kept at work until the end of the block."""
    keeping = [asyncio.create_task(processes.keep_one()) for _ in range(number)]
    try:
        yield
    finally:
        processes.stop()
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.gather(*keeping)


@asynccontextmanager
async def owner(storage: AsyncStorage, name: str) -> AsyncIterator[None]:
    """A runner of that name, which owns an order."""
    order = Instance.new("demo.Order", {}, id=f"order::{name}")
    async with (
        storage.runner(workflows=["demo.Order"], name=name) as runner,
        await runner.insert(order),
    ):
        yield


async def test_a_runner_that_is_killed_is_replaced(
    storage: AsyncStorage, processes: Processes, script: Callable[[str], None]
) -> None:
    script("exec sleep 100")
    async with kept(processes), owner(storage, "1"):
        await processes.kill()
        await happens(lambda: list(processes._running) == [2])
        assert (processes.kills, processes.ended) == (1, {1})


async def test_it_hits_the_runner_that_owns_the_most_and_none_twice(
    storage: AsyncStorage, processes: Processes, script: Callable[[str], None]
) -> None:
    script("exec sleep 100")
    async with (
        kept(processes, 2),
        storage.runner(workflows=["demo.Order"], name="1"),
        owner(storage, "2"),
    ):
        await happens(lambda: list(processes._running) == [1, 2])
        await processes.kill()
        assert processes.ended == {2}
        await processes.kill()
        assert processes.ended == {1, 2}


async def test_a_frozen_runner_goes_on_after_its_lease_and_is_not_hit_meanwhile(
    storage: AsyncStorage, processes: Processes, said: list[str], script: Callable[[str], None]
) -> None:
    script(f"trap 'exit {os.EX_TEMPFAIL}' CONT; echo ready; while :; do sleep 0.01; done")
    async with kept(processes), owner(storage, "1"):
        await happens(lambda: said == ["runner 1: ready"])
        freezing = asyncio.create_task(processes.freeze())
        await happens(lambda: processes.ended == {1})
        assert 1 in processes._running
        await freezing
        await happens(lambda: 2 in processes._running)
        assert (processes.kills, processes.freezes, processes.expired) == (0, 1, 0)


async def test_a_runner_that_is_frozen_when_all_stop_is_let_go_on(
    storage: AsyncStorage, said: list[str], script: Callable[[str], None]
) -> None:
    processes = Processes(storage, "", lease=1000, say=said.append)
    script("exec sleep 100")
    async with kept(processes):
        async with owner(storage, "1"):
            freezing = asyncio.create_task(processes.freeze())
            await happens(lambda: any("frozen after" in line for line in said))
        freezing.cancel()
        await asyncio.wait([freezing])


async def test_so_is_one_whose_orders_were_still_being_read(
    storage: AsyncStorage,
    processes: Processes,
    script: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading = asyncio.Event()

    async def read(**_: object) -> None:
        reading.set()
        await asyncio.Event().wait()

    script("exec sleep 100")
    async with kept(processes), owner(storage, "1"):
        with monkeypatch.context() as patch:
            patch.setattr(storage, "query", read)
            freezing = asyncio.create_task(processes.freeze())
            async with asyncio.timeout(WAIT_SECONDS):
                await reading.wait()
        freezing.cancel()
        await asyncio.wait([freezing])


async def test_an_orders_wait_ends_when_another_runner_claims_it(
    storage: AsyncStorage, processes: Processes, script: Callable[[str], None]
) -> None:
    script("exec sleep 100")
    async with kept(processes):
        async with owner(storage, "1"):
            await processes.kill()
        claimed = json.dumps(["claimed", "order::1"])
        processes._hear(1, claimed)  # said before it was killed, and heard late
        assert processes.waits == []
        processes._hear(2, claimed)
        processes._hear(3, claimed)
        [seconds] = processes.waits
        assert seconds > 0


async def test_what_a_runner_said_before_its_end_is_heard_and_missed_in_the_table(
    processes: Processes, script: Callable[[str], None]
) -> None:
    script(f"echo '{json.dumps(['acknowledged', *WORK])}'; exit {os.EX_TEMPFAIL}")
    async with kept(processes):
        await happens(lambda: processes.lost)
    assert processes.acknowledged[0] == processes.lost[0] == WORK
    assert 1 in processes.ended
    assert processes.expired > 0


@pytest.mark.parametrize("code", (0, 1))
async def test_a_runner_that_ends_by_itself_is_an_error_whose_reason_is_shown(
    processes: Processes, said: list[str], script: Callable[[str], None], code: int
) -> None:
    script(f"echo why >&2; exit {code}")
    with pytest.raises(HephaestusError, match=f"runner 1 ended with exit code {code}"):
        await processes.keep_one()
    assert said == ["runner 1: why"]


async def test_a_runner_that_starts_while_all_stop_is_stopped_too(
    processes: Processes, script: Callable[[str], None]
) -> None:
    script("exec sleep 100")
    keeping = asyncio.create_task(processes._run_one(1))
    processes.stop()
    await keeping


async def test_a_supervisor_that_is_cancelled_kills_its_runners_even_the_frozen(
    processes: Processes, script: Callable[[str], None]
) -> None:
    script("exec sleep 100")
    keeping = asyncio.create_task(processes.keep_one())
    await happens(lambda: processes._running)
    [process] = processes._running.values()
    process.send_signal(signal.SIGSTOP)
    keeping.cancel()
    await asyncio.wait([keeping])
    assert process.returncode == -signal.SIGKILL
