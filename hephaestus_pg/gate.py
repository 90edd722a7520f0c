"""The way into a storage: who may call, and how many are inside."""

from __future__ import annotations

import asyncio
import os
from weakref import WeakSet

import anyio

from hephaestus_pg.errors import StorageClosedError, WrongEventLoopError


class Gate:
    """Counts the calls under way, each a ``with`` block, and lets none in after the end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.loop = asyncio.get_running_loop()
        self._inherited = False
        _gates.add(self)
        self._under_way = 0
        self._closed = False
        self._empty = anyio.Event()

    def require_own_loop(self) -> None:
        """Refuse a call from another event loop; one from outside any loop changes nothing."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            if not self._inherited:
                return
        if self._inherited or running is not self.loop:
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

    def inherit(self) -> None:
        """Let nobody in: this is a forked process, and the connections are its parent's."""
        self._inherited = True


_gates: WeakSet[Gate] = WeakSet()


def _forked() -> None:
    # A worker may go on with the very loop with which its parent started a storage.
    for gate in _gates:
        gate.inherit()


os.register_at_fork(after_in_child=_forked)
