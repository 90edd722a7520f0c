import asyncio

import pytest

from hephaestus_pg import Instance, RunnerEndedError
from hephaestus_pg.runners.waiters import Waiters

pytestmark = pytest.mark.once

FIRST, SECOND = Instance("x::1", "Order"), Instance("x::2", "Order")


async def test_who_came_first_is_given_first() -> None:
    waiters = Waiters()
    answers = [waiters.join() for _ in range(2)]
    assert all(waiters.hand_out(each) for each in (FIRST, SECOND))
    assert [await each for each in answers] == [FIRST, SECOND]
    assert not waiters.hand_out(FIRST)


async def test_who_was_cancelled_neither_counts_nor_is_given_anything() -> None:
    waiters = Waiters()
    assert not waiters
    gone, waits, gone_behind = (waiters.join() for _ in range(3))
    assert len(waiters) == 3
    gone.cancel()
    gone_behind.cancel()
    assert (bool(waiters), len(waiters)) == (True, 1)
    assert waiters.hand_out(FIRST)
    assert await waits is FIRST
    assert not waiters


async def test_all_are_answered_each_with_an_error_of_his_own() -> None:
    waiters = Waiters()
    answers = [waiters.join() for _ in range(3)]
    answers[0].cancel()
    waiters.answer_all(RunnerEndedError("default", runner="worker", reason="stopped"))
    _, *errors = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(each) for each in errors] == [RunnerEndedError, RunnerEndedError]
    assert errors[0] is not errors[1]


async def test_that_none_comes_is_an_answer_too() -> None:
    waiters = Waiters()
    answer = waiters.join()
    waiters.answer_all(None)
    assert await answer is None
    assert not waiters
