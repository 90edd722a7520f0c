"""Admission: so many calls are let in, the others wait outside, in order."""

from __future__ import annotations

import asyncio

import pytest

from hephaestus_pg.batching.admission import Admission, Limit
from hephaestus_pg.batching.batcher import Batcher
from tests.support.answering import Server, called, later, settle

pytestmark = pytest.mark.quick


class TestBackPressure:
    async def test_past_the_bound_callers_wait_their_turn_in_order(self, server: Server) -> None:
        limit = Limit(3)
        batcher = Batcher(server.run, num_workers=1, limit=limit)
        tasks = called(batcher, "put", *"abcdefgh")
        await settle()
        assert batcher.calls_inside == 3
        assert limit.waiting == 5
        tasks[5].cancel()
        await server.answer_all()
        answers = await asyncio.gather(*tasks, return_exceptions=True)

        assert [id for _, ids in server.sent for id in ids] == list("abcdegh")
        assert isinstance(answers[5], asyncio.CancelledError)
        assert (batcher.calls_inside, limit.waiting) == (0, 0)

    async def test_a_place_given_to_a_cancelled_caller_goes_on_to_the_next(
        self, server: Server
    ) -> None:
        limit = Limit(1)
        batcher = Batcher(server.run, num_workers=1, limit=limit)
        tasks = called(batcher, "put", *"abcd")
        await settle()
        server.answer()
        await settle()
        outside = limit.waiting
        server.answer()
        while limit.waiting == outside:  # until b is answered, and c is given its place
            await asyncio.sleep(0)
        tasks[2].cancel()
        await server.answer_all()
        answers = await asyncio.gather(*tasks, return_exceptions=True)

        assert [id for _, ids in server.sent for id in ids] == list("abd")
        assert isinstance(answers[2], asyncio.CancelledError)
        assert (batcher.calls_inside, limit.waiting) == (0, 0)


class TestAdmission:
    async def test_those_who_have_waited_longest_are_let_in_first(self) -> None:
        limit = Limit(2)
        admission = Admission(limit)
        order: list[int] = []

        async def caller(number: int) -> None:
            await admission.enter(later())
            order.append(number)

        callers = [asyncio.create_task(caller(number)) for number in range(5)]
        await settle()
        assert (order, admission.inside, limit.waiting) == ([0, 1], 2, 3)
        admission.leave(2)
        await settle()
        assert order == [0, 1, 2, 3]
        admission.leave(3)  # those two, and the last
        await asyncio.gather(*callers)
        assert (admission.inside, limit.waiting) == (0, 0)

    async def test_who_is_not_let_in_by_the_deadline_leaves_without_a_trace(self) -> None:
        limit = Limit(1)
        admission = Admission(limit)
        await admission.enter(later())
        with pytest.raises(TimeoutError):
            await admission.enter(asyncio.get_running_loop().time() + 0.01)
        admission.leave()
        assert (admission.inside, limit.waiting) == (0, 0)
        await admission.enter(later())

    async def test_who_is_cancelled_just_after_being_let_in_lets_the_next_one_in(self) -> None:
        limit = Limit(1)
        admission = Admission(limit)
        await admission.enter(later())
        first, second = (asyncio.create_task(admission.enter(later())) for _ in range(2))
        await settle()
        admission.leave()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        assert (admission.inside, limit.waiting) == (1, 0)
