"""The way into a storage: who may call, and how many are inside."""

from __future__ import annotations

import asyncio

import anyio

from hephaestus_pg.errors import StorageClosedError, WrongEventLoopError


class Gate:
    """Counts the calls under way, each a ``with`` block, and lets none in after the end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.loop = asyncio.get_running_loop()
        self._under_way = 0
        self._closed = False
        self._empty = anyio.Event()

    def require_own_loop(self) -> None:
        """Refuse a call from another event loop; one from outside any loop changes nothing."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return
        if running is not self.loop:
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
