"""One timer for many deadlines, and what it tells the calls."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import pytest

from hephaestus_pg import (
    OperationTimeoutError,
)
from hephaestus_pg.batching.batcher import Batcher
from hephaestus_pg.batching.deadlines import DeadlineTimer
from tests.support.answering import Server, call, settle

pytestmark = pytest.mark.quick


async def test_each_call_has_a_deadline_of_its_own(server: Server) -> None:
    batcher = Batcher(server.run, num_workers=1, slow_after=60)
    now = asyncio.get_running_loop().time()
    first, sent, *waiting = (
        call(batcher, "put", id, deadline=now + seconds)
        for id, seconds in (("a", 60), ("b", 60), ("c", 60), ("d", 0.1), ("e", 0.2))
    )
    ended: list[asyncio.Task[Any]] = []
    for task in waiting:
        task.add_done_callback(ended.append)
    await settle()
    server.answer()  # the rest go out as one statement
    await settle()

    with pytest.raises(OperationTimeoutError, match="under way"):
        await waiting[1]
    with pytest.raises(OperationTimeoutError, match="under way"):
        await waiting[2]
    assert ended == waiting[1:]
    assert not sent.done()
    late = call(batcher, "put", "f", deadline=now + 0.3)
    with pytest.raises(OperationTimeoutError, match="before") as caught:
        await late
    assert caught.value.applied == "no"
    await server.answer_all()
    assert [row and row["id"] for row in await asyncio.gather(first, sent, waiting[0])] == [*"abc"]
    batcher.stop_timer()


class TestTimer:
    async def test_it_rings_for_the_first_deadline_and_then_for_what_follows(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        rung: list[float] = []
        deadlines = [now + seconds for seconds in (0.01, 0.03)]
        done = asyncio.Event()

        def expire(at: float) -> float:
            rung.append(at)
            following = [each for each in deadlines if each > at]
            if not following:
                done.set()
            return min(following, default=inf)

        timer = DeadlineTimer(expire)
        timer.set(deadlines[1])
        timer.set(deadlines[0])
        assert timer.next == deadlines[0]
        timer.set(now + 60)  # later than what it is set for
        assert timer.next == deadlines[0]
        await done.wait()
        assert rung[0] >= deadlines[0]
        assert rung[-1] >= deadlines[1]
        assert timer.next == inf

    async def test_stopped_it_never_rings(self) -> None:
        rung: list[float] = []

        def expire(at: float) -> float:
            rung.append(at)
            return inf

        timer = DeadlineTimer(expire)
        timer.set(asyncio.get_running_loop().time())
        timer.stop()
        await asyncio.sleep(0.01)
        assert (rung, timer.next) == ([], inf)
