"""The life of a storage: calls under way, their deadlines, and the end, which waits for them."""

from __future__ import annotations

import asyncio
import os
from math import inf
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakSet

import anyio

from hephaestus_pg._checks import is_number
from hephaestus_pg.errors import (
    InvalidTypeError,
    InvalidValueError,
    OperationTimeoutError,
    StorageClosedError,
    WrongEventLoopError,
)

if TYPE_CHECKING:
    from types import TracebackType


class Lifecycle:
    """Counts the calls under way, and lets none begin once it is closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.loop = asyncio.get_running_loop()
        self._disowned = False
        _lifecycles.add(self)
        self.under_way = 0
        self.transactions = 0
        """Blocks of transactions that are open."""
        self.closed = False
        self._empty = anyio.Event()

    def require_own_loop(self) -> None:
        """Refuses a call from another event loop; one from outside any loop changes nothing."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            if not self._disowned:
                return
        if self._disowned or running is not self.loop:
            raise WrongEventLoopError(self.name, "another event loop, or to the parent process")

    def require_open(self) -> None:
        """Refuses what is to begin, where :meth:`require_own_loop` does or once it is closed."""
        self.require_own_loop()
        if self.closed:
            self.refuse()

    def refuse(self) -> NoReturn:
        """Raises the error that says why no call may begin."""
        self.require_own_loop()
        raise StorageClosedError(self.name)

    def call_ended(self) -> None:
        """Wakes :meth:`close` up when no call is under way any more."""
        if not self.under_way:
            self._empty.set()

    async def close(self) -> None:
        """Lets no call begin any more, and waits until none is under way."""
        self.require_own_loop()
        self.closed = True
        if self.under_way:
            await self._empty.wait()

    def disown(self) -> None:
        """Lets no call begin: this is a forked process, and the connections are its parent's."""
        self._disowned = True
        self.closed = True


_lifecycles: WeakSet[Lifecycle] = WeakSet()


def _forked() -> None:
    # A worker may go on with the very loop with which its parent started a storage.
    for lifecycle in _lifecycles:
        lifecycle.disown()


os.register_at_fork(after_in_child=_forked)


LONGEST_TIMEOUT = 2_000_000.0
"""Seconds that a timeout may be, 23 days: a server counts milliseconds in 31 bits."""


def checked_timeout(timeout: Any, longest: float) -> float:
    """``timeout`` in seconds, or ``longest`` where it is ``None``.

    A call's may be no longer than the storage's: the server has that one, and ends what goes on.
    The storage's own, for which ``longest`` is infinite, may be :data:`LONGEST_TIMEOUT`.
    """
    if timeout is None:
        return longest
    if not is_number(timeout):
        raise InvalidTypeError("timeout", timeout, "give a number of seconds")
    if not 0 < timeout <= min(longest, LONGEST_TIMEOUT):
        own = f"the storage's own {longest:g}" if longest < inf else f"{LONGEST_TIMEOUT:.0f}"
        raise InvalidValueError("timeout", timeout, f"give seconds above 0, up to {own}")
    return float(timeout)


_USE_ITS_OWN_VERBS = (
    "; a transaction of this storage is open, and may hold what this waited for: in its block use "
    "its own verbs"
)


class Operation:
    """A call under way: the ``with`` block counts in the ``lifecycle``, and gives its deadline.

    An :class:`OperationTimeoutError` that leaves it says of which ``verb`` and ``id`` it is.
    Without a lifecycle it is on a connection whose user counts already. ``timeout`` is in seconds,
    up to and by default the ``longest``.
    """

    __slots__ = ("_began", "_id", "_lifecycle", "_loop", "_timeout", "_verb")

    def __init__(
        self,
        lifecycle: Lifecycle | None,
        longest: float,
        verb: str,
        id: str | None,
        timeout: float | None,
    ) -> None:
        self._lifecycle = lifecycle
        self._verb = verb
        self._id = id
        self._timeout = longest if timeout is None else checked_timeout(timeout, longest)

    def __enter__(self) -> float:
        self._loop = loop = asyncio.get_running_loop()
        lifecycle = self._lifecycle
        if lifecycle is not None:
            if lifecycle.closed or loop is not lifecycle.loop:
                lifecycle.refuse()
            lifecycle.under_way += 1  # on the way of every call: without another call
        self._began = began = loop.time()
        return began + self._timeout

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        lifecycle = self._lifecycle
        if lifecycle is not None:
            lifecycle.under_way -= 1
            if lifecycle.closed:
                lifecycle.call_ended()
        if error is not None and isinstance(error, OperationTimeoutError):
            taken = self._loop.time() - self._began
            was_sent = error.applied == "unknown" or error.sqlstate is not None
            is_beside = was_sent and lifecycle is not None and lifecycle.transactions > 0
            error.complete(
                self._verb,
                self._id,
                timeout=self._timeout,
                taken=taken,
                advice=_USE_ITS_OWN_VERBS if is_beside else "",
            )
