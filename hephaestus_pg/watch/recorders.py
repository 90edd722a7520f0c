"""Keep what is written in a transaction, until it may be told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hephaestus_pg.driver.connection import is_in_transaction
from hephaestus_pg.verbs.observers import Observer
from hephaestus_pg.watch.news import News
from hephaestus_pg.watch.notifier import INTERVAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.values.instance import Instance


class Recorder(Observer):
    """Keeps what is written in a transaction, as news for when it has committed."""

    def __init__(self) -> None:
        self.news = News.none()
        self.told = News.none()
        """Of those that somebody listens to."""

    def written(self, instance: Instance, *, is_certain: bool, is_listened: bool) -> None:
        """See :class:`Observer`."""
        del is_certain  # nothing in a transaction is
        self.news.add(instance)
        if is_listened:
            self.told.add(instance)


class ConnectionRecorder(Recorder):
    """Keeps what is written on a ``connection`` of the caller's until its transaction has ended.

    Nobody is told of that, and so it is asked for while somebody listens. Whether the transaction
    was committed it does not know: whom it tells look.
    """

    def __init__(self, connection: AnyConnection, on_end: Callable[[Recorder], None]) -> None:
        super().__init__()
        self._connection = connection
        self._on_end = on_end
        self._timer: asyncio.TimerHandle | None = None

    def written(self, instance: Instance, *, is_certain: bool, is_listened: bool) -> None:
        """See :class:`Observer`."""
        super().written(instance, is_certain=is_certain, is_listened=is_listened)
        if is_listened and self._timer is None:
            self._ask()

    def _ask(self) -> None:
        self._timer = None
        if is_in_transaction(self._connection):
            self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._ask)
        else:
            self._on_end(self)
            self.news, self.told = News.none(), News.none()
