"""Iterations that outlive a step which was cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Iteration(AsyncIterator[T], Generic[T]):
    """Iterates over what ``step`` gives, until that raises; then, or when it is left, it ends.

    A generator has ended once a step of it was cancelled, as ``asyncio.timeout`` does; this goes on
    at the next one. ``end`` is called once, in the ``loop``.
    """

    def __init__(
        self,
        step: Callable[[], Awaitable[T]],
        end: Callable[[], object],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._step = step
        self._end = end
        self._loop = loop
        self._has_ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._has_ended:
            raise StopAsyncIteration
        try:
            return await self._step()
        except asyncio.CancelledError:
            raise
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Ends it, as that of a generator: for ``contextlib.aclosing``."""
        if not self._has_ended:
            self._has_ended = True
            self._end()

    def __del__(self) -> None:
        if not self._has_ended:
            # Not at once: it may be collected at any place, and in any thread.
            with suppress(RuntimeError):  # that loop is closed
                self._loop.call_soon_threadsafe(self._end)
