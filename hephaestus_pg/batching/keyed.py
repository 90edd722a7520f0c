"""A batcher for each group of callers who may share statements."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from hephaestus_pg.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from asyncpg import Record

    from hephaestus_pg.batching.batcher import Batcher
    from hephaestus_pg.batching.queue import Batchable

BatchBy = Callable[[], Hashable]
"""Gives the key of a call, in the call's context; calls of equal keys may share statements."""

KeyOf = Callable[[str], Hashable]
"""Gives that key by the id that the call concerns."""

MAX_IDLE = 100
"""Batchers above which those without calls are dropped when a new key comes."""


def checked_batch_by(batch_by: Any, *, batching: bool) -> None:
    """Refuses anything but a plain function, and any function where nothing is batched."""
    if not callable(batch_by) or inspect.iscoroutinefunction(batch_by):
        raise InvalidTypeError("batch_by", batch_by, "give a plain function without arguments")
    if not batching:
        raise InvalidValueError("batch_by", batch_by, "leave it out, or leave out batching=False")


class KeyedBatcher:
    """Sends only calls together for which ``key_of`` gives the same value."""

    def __init__(self, make: Callable[[], Batcher], key_of: KeyOf) -> None:
        self._make = make
        self._key_of = key_of
        self._batchers: dict[Hashable, Batcher] = {}

    @property
    def batchers(self) -> list[Batcher]:
        """Those that are kept."""
        return list(self._batchers.values())

    def row(
        self, deadline: float, statement: Batchable, *arguments: Any
    ) -> Awaitable[Record | None]:
        """See :meth:`Batcher.row`."""
        key = self._key_of(arguments[0])
        try:
            batcher = self._batchers.get(key)
        except TypeError as error:
            raise InvalidTypeError("batch_by", key, "let it give a value that hashes") from error
        if batcher is None:
            self._forget_idle()
            batcher = self._batchers[key] = self._make()
        return batcher.row(deadline, statement, *arguments)

    def stop_timer(self) -> None:
        """See :meth:`Batcher.stop_timer`."""
        for batcher in self._batchers.values():
            batcher.stop_timer()

    def _forget_idle(self) -> None:
        if len(self._batchers) >= MAX_IDLE:
            for key, batcher in list(self._batchers.items()):
                if batcher.is_idle:
                    batcher.stop_timer()
                    del self._batchers[key]
