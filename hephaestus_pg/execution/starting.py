"""What is about to start: awaited or entered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import anyio

from hephaestus_pg.errors import LifecycleError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

Started = TypeVar("Started")


def require_asyncio(name: str) -> None:
    """Refuses to start where no event loop of asyncio's runs, as under trio."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise LifecycleError(
            name,
            f"the storage {name!r} runs on asyncio's event loop, and none runs here: start it "
            "within asyncio.run(), or anyio.run(…, backend='asyncio')",
        ) from None


class Starting(Generic[Started]):
    """Returned by what starts something: ``await`` gives that, ``async with`` also ends it.

    ``advice`` is what a forgotten ``await`` or ``async`` raises.
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[Started]],
        end: Callable[[Started], Awaitable[object]],
        advice: str,
    ) -> None:
        self._start = start
        self._end = end
        self._advice = advice

    def __await__(self) -> Generator[Any, Any, Started]:
        return self._start().__await__()

    async def __aenter__(self) -> Started:
        self._started = await self._start()
        return self._started

    async def __aexit__(self, *_: object) -> None:
        # A cancelled scope of anyio's would cancel each wait in it.
        with anyio.CancelScope(shield=True):
            await self._end(self._started)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(self._advice, name=name, obj=self)

    def __enter__(self) -> NoReturn:
        raise TypeError(self._advice)

    def __exit__(self, *_: object) -> None: ...
