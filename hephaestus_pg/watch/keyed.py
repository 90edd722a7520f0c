"""Watchers for each group of callers who may share statements."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from hephaestus_pg.watch.news import News
    from hephaestus_pg.watch.watchers import Watcher, Watchers


class KeyedWatchers:
    """Looks only together for those for whom ``key`` gives the same value, in their context.

    As in :class:`KeyedBatcher`: a hook of the pool may show one caller what it hides from another.
    """

    def __init__(self, make: Callable[[], Watchers], key: Callable[[], Hashable]) -> None:
        self._make = make
        self._key = key
        self._groups: dict[Hashable, Watchers] = {}

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    @property
    def looks(self) -> int:
        """See :class:`Watchers`; of those who wait now."""
        return sum(group.looks for group in self._groups.values())

    @contextmanager
    def watching(self, ids: Iterable[str]) -> Iterator[Watcher]:
        """See :meth:`Watchers.watching`."""
        key = self._key()
        if (group := self._groups.get(key)) is None:
            group = self._groups[key] = self._make()
        try:
            with group.watching(ids) as watcher:
                yield watcher
        finally:
            if not group and self._groups.get(key) is group:
                del self._groups[key]

    def hear(self, news: News) -> None:
        """See :meth:`Watchers.hear`."""
        for group in self._groups.values():
            group.hear(news)

    async def close(self, error: Exception) -> None:
        """See :meth:`Watchers.close`."""
        for group in list(self._groups.values()):
            await group.close(error)
