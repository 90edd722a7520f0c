"""A storage that is about to start."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar

from hephaestus_pg.errors import LifecycleError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator


class _Closable(Protocol):
    async def close(self) -> None: ...


Storage = TypeVar("Storage", bound=_Closable)

_ADVICE = (
    "the storage is not started yet: write `storage = await AsyncStorage.start(...)`, "
    "or `async with AsyncStorage.start(...) as storage:`"
)


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


class Starting(Generic[Storage]):
    """Returned by ``start``: ``await`` gives the storage, ``async with`` also closes it."""

    def __init__(self, start: Callable[[], Awaitable[Storage]]) -> None:
        self._start = start

    def __await__(self) -> Generator[Any, Any, Storage]:
        return self._start().__await__()

    async def __aenter__(self) -> Storage:
        self._storage = await self._start()
        return self._storage

    async def __aexit__(self, *_: object) -> None:
        await self._storage.close()

    # A forgotten ``await`` or ``async`` raises what to write instead.

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(_ADVICE, name=name, obj=self)

    def __enter__(self) -> NoReturn:
        raise TypeError(_ADVICE)

    def __exit__(self, *_: object) -> None: ...
