"""A batcher for each kind of caller: who may share statements with whom, the user says."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from hephaestus_pg.driver.hooks import hook_error
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from asyncpg import Record

    from hephaestus_pg.batching.batcher import Batcher

BatchBy = Callable[[], Hashable]
"""Called in the context of a call, it tells which others the call may share statements with."""

KEPT = 100
"""Batchers that are kept; of more, those that are idle go when another key comes."""


def checked_batch_by(batch_by: Any, *, batching: bool) -> None:
    """Refuse what is no plain function, and one that would have nothing to say."""
    if not callable(batch_by) or inspect.iscoroutinefunction(batch_by):
        raise InvalidTypeError("batch_by", batch_by, "give a plain function without arguments")
    if not batching:
        raise InvalidValueError("batch_by", batch_by, "leave it out, or leave out batching=False")


class KeyedBatcher:
    """Gathers only calls for which ``batch_by`` gives the same value."""

    def __init__(self, make: Callable[[], Batcher], batch_by: BatchBy) -> None:
        self._make = make
        self._batch_by = batch_by
        self._batchers: dict[Hashable, Batcher] = {}

    def row(self, deadline: float, statement: str, *arguments: Any) -> Awaitable[Record | None]:
        """See :meth:`Batcher.row`."""
        try:
            key = self._batch_by()
        except Exception as error:
            if (ours := hook_error(error, "batch_by")) is None:
                raise
            raise ours from error
        try:
            batcher = self._batchers.get(key)
        except TypeError as error:
            raise InvalidTypeError("batch_by", key, "let it give a value that hashes") from error
        if batcher is None:
            self._forget_idle()
            batcher = self._batchers[key] = self._make()
        return batcher.row(deadline, statement, *arguments)

    def stop_clock(self) -> None:
        """See :meth:`Batcher.stop_clock`."""
        for batcher in self._batchers.values():
            batcher.stop_clock()

    def _forget_idle(self) -> None:
        if len(self._batchers) >= KEPT:
            for key, batcher in list(self._batchers.items()):
                if batcher.idle:
                    batcher.stop_clock()
                    del self._batchers[key]
