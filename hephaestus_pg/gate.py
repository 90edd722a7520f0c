"""The way into a storage: who may call, how many are inside, and what each call may take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio

from hephaestus_pg.errors import OperationTimeoutError, StorageClosedError, WrongEventLoopError

if TYPE_CHECKING:
    from types import TracebackType


class Gate:
    """Counts the calls under way, each a ``with`` block, and lets none in after the end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._loop = asyncio.get_running_loop()
        self._under_way = 0
        self._closed = False
        self._empty = anyio.Event()

    def require_own_loop(self) -> None:
        """Refuse a call from another event loop; one from outside any loop changes nothing."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return
        if running is not self._loop:
            raise WrongEventLoopError(self.name, "another event loop, or to the parent process")

    def __enter__(self) -> None:
        self.require_own_loop()
        if self._closed:
            raise StorageClosedError(self.name)
        self._under_way += 1

    def __exit__(self, *_: object) -> None:
        self._under_way -= 1
        if self._closed and not self._under_way:
            self._empty.set()

    async def close(self) -> None:
        """Let nobody in any more, and wait until all are out."""
        self.require_own_loop()
        self._closed = True
        if self._under_way:
            await self._empty.wait()


class Operation:
    """A call under way: the ``with`` block holds the ``gate``, and gives the call's deadline.

    An :class:`OperationTimeoutError` that leaves it says of which ``verb`` and ``id`` it is.
    """

    __slots__ = ("_began", "_gate", "_id", "_loop", "_timeout", "_verb")

    def __init__(
        self,
        gate: Gate | None,
        loop: asyncio.AbstractEventLoop,
        verb: str,
        id: str | None,
        timeout: float,
    ) -> None:
        self._gate = gate
        self._loop = loop
        self._verb = verb
        self._id = id
        self._timeout = timeout

    def __enter__(self) -> float:
        if self._gate is not None:
            self._gate.__enter__()
        self._began = self._loop.time()
        return self._began + self._timeout

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._gate is not None:
            self._gate.__exit__()
        if error is not None and isinstance(error, OperationTimeoutError):
            taken = self._loop.time() - self._began
            error.complete(self._verb, self._id, timeout=self._timeout, taken=taken)
