"""What is about to start: awaited or entered."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

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


class Starting(Coroutine[Any, Any, Started]):
    """Returned by what starts something: ``await`` gives that, ``async with`` also ends it.

    It is a coroutine, so that a task may be made of it. ``advice`` is what a forgotten ``await`` or
    ``async`` raises.
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
        self._steps: Generator[Any, Any, Started] | None = None

    def __await__(self) -> Generator[Any, Any, Started]:
        return self._start().__await__()

    def send(self, value: None, /) -> Any:
        """Takes the next step, as the event loop does with a task."""
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:
        """Raises the error at the present step."""
        return self._begun().throw(*error)

    def close(self) -> None:
        """Ends it where it is, if it has begun."""
        if self._steps is not None:
            self._steps.close()

    def _begun(self) -> Generator[Any, Any, Started]:
        if self._steps is None:
            self._steps = self.__await__()
        return self._steps

    async def __aenter__(self) -> Started:
        self._started = await self._start()
        return self._started

    async def __aexit__(self, *_: object) -> None:
        # A cancelled scope of anyio's would cancel each wait in it.
        with anyio.CancelScope(shield=True):
            await self._end(self._started)

    if not TYPE_CHECKING:  # which would take it for whatever it has to be

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(self._advice, name=name, obj=self)

    def __enter__(self) -> NoReturn:
        raise TypeError(self._advice)

    def __exit__(self, *_: object) -> None: ...
