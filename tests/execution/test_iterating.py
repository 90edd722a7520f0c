"""What iterates over a function's results goes on after a step that was cancelled."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg.execution.iterating import Iteration

if TYPE_CHECKING:
    from collections.abc import Awaitable

pytestmark = pytest.mark.quick


class Source:
    """Gives what is put into its queue; an error is raised."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[int | Exception] = asyncio.Queue()
        self.ends = 0
        self.iteration = Iteration(self._step, self._end, asyncio.get_running_loop())

    async def _step(self) -> int:
        given = await self.queue.get()
        if isinstance(given, Exception):
            raise given
        return given

    def _end(self) -> None:
        self.ends += 1


async def cancelled(step: Awaitable[int]) -> None:
    task = asyncio.ensure_future(step)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_goes_on_after_a_step_that_was_cancelled() -> None:
    source = Source()
    await cancelled(anext(source.iteration))
    source.queue.put_nowait(1)
    assert await anext(source.iteration) == 1
    assert source.ends == 0


@pytest.mark.parametrize("error", (KeyError(), StopAsyncIteration()))
async def test_it_has_ended_after_an_error(error: Exception) -> None:
    source = Source()
    source.queue.put_nowait(error)
    with pytest.raises(type(error)):
        await anext(source.iteration)
    with pytest.raises(StopAsyncIteration):
        await anext(source.iteration)
    assert source.ends == 1


async def test_it_can_be_closed_or_dropped() -> None:
    for how in ("close", "drop"):
        source = Source()
        source.queue.put_nowait(1)
        if how == "close":
            async with aclosing(source.iteration) as iteration:
                async for _ in iteration:
                    break
            assert source.ends == 1
        del source.iteration
        gc.collect()
        await asyncio.sleep(0)
        assert source.ends == 1
