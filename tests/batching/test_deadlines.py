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
from hephaestus_pg.batching.deadlines import DeadlineTimer, Timeout, Timeouts
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


class TestTimeouts:
    async def wait(self, timeouts: Timeouts, deadline: float) -> None:
        with Timeout(timeouts, deadline):
            await asyncio.get_running_loop().create_future()

    async def test_each_block_expires_at_its_own_deadline(self) -> None:
        timeouts, loop = Timeouts(), asyncio.get_running_loop()
        now = loop.time()
        ends = {}

        async def end(deadline: float) -> None:
            with pytest.raises(TimeoutError):
                await self.wait(timeouts, deadline)
            ends[deadline] = loop.time()

        # A starved loop may come to two of them at once.
        late = asyncio.create_task(self.wait(timeouts, now + 60))
        deadlines = {now + seconds for seconds in (0.06, 0.03, 0.09)}
        await asyncio.gather(*map(end, deadlines))
        assert set(ends) == deadlines
        assert all(at >= deadline for deadline, at in ends.items())
        assert not late.done()
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        timeouts.stop()

    async def test_a_cancelled_block_is_no_expired_one(self) -> None:
        timeouts = Timeouts()
        task = asyncio.create_task(self.wait(timeouts, asyncio.get_running_loop().time() + 60))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        timeouts.stop()

    async def test_one_that_somebody_cancels_as_it_expires_is_cancelled(self) -> None:
        timeouts = Timeouts()
        task = asyncio.create_task(self.wait(timeouts, asyncio.get_running_loop().time() + 60))
        await asyncio.sleep(0)
        task.cancel()
        [timeout] = timeouts.running
        timeout.expire()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not timeouts.running
        timeouts.stop()

    async def test_one_in_a_task_that_was_cancelled_before_expires(self) -> None:
        timeouts, loop = Timeouts(), asyncio.get_running_loop()
        has_expired = False

        async def clean_up() -> None:
            nonlocal has_expired
            try:
                await loop.create_future()
            except asyncio.CancelledError:
                with pytest.raises(TimeoutError):
                    await self.wait(timeouts, loop.time())
                has_expired = True
                raise

        task = asyncio.create_task(clean_up())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (has_expired, task.cancelling()) == (True, 1)

    async def test_a_block_that_is_left_in_time_leaves_nothing_behind(self) -> None:
        timeouts = Timeouts()
        with Timeout(timeouts, asyncio.get_running_loop().time() + 60):
            assert len(timeouts.running) == 1
        timeouts.stop()
        assert (timeouts.running, timeouts.timer.next) == ({}, inf)

    async def test_a_block_whose_deadline_is_lifted_goes_on(self) -> None:
        timeouts = Timeouts()
        soon = asyncio.get_running_loop().time() + 0.01
        with Timeout(timeouts, soon) as lifted:
            lifted.reschedule(inf)
            with pytest.raises(TimeoutError):  # by then it would have expired as well
                await self.wait(timeouts, soon)

    async def test_a_block_may_be_given_less_time_than_it_had(self) -> None:
        timeouts = Timeouts()
        now = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError), Timeout(timeouts, now + 3600) as timeout:
            timeout.reschedule(now + 0.01)
            await asyncio.Event().wait()
        assert timeouts.running == {}

    async def test_it_does_not_stop_while_a_block_is_to_expire(self) -> None:
        timeouts = Timeouts()
        waiting = asyncio.create_task(self.wait(timeouts, asyncio.get_running_loop().time() + 0.02))
        await asyncio.sleep(0)
        timeouts.stop()
        with pytest.raises(TimeoutError):
            await waiting
