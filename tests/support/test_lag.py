"""The clock of the other tests."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.lag import Lag, happens, within

pytestmark = pytest.mark.quick


async def test_what_is_late_of_itself_is_too_late() -> None:
    async with Lag() as lag:
        with pytest.raises(AssertionError, match=r"and not 0\.1 s"):
            async with within(0.1):
                await lag.passed(0.2)


async def test_what_a_starved_loop_holds_up_is_not() -> None:
    async with within(0.3), Lag() as lag:
        for _ in range(3):
            asyncio.get_running_loop().call_soon(time.sleep, 0.2)
            await asyncio.sleep(0.02)
    assert lag.total > 0.4
    assert lag.longest > 0.15
    before = lag.total
    time.sleep(0.1)  # noqa: ASYNC251 - it looks no more
    assert lag.total == before


async def test_a_loop_that_stands_still_is_late_already() -> None:
    async with Lag() as lag:
        time.sleep(0.2)  # noqa: ASYNC251 - nothing else runs meanwhile
        assert lag.total > 0.1
        assert lag.seconds < 0.1


async def test_who_waits_for_something_sees_it() -> None:
    there = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, there.set)
    await happens(there.is_set)
    assert there.is_set()
