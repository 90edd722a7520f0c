"""The notifier: tells other processes what was written here, while one of them listens."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING
from uuid import uuid4

from hephaestus_pg.errors import HephaestusError
from hephaestus_pg.watch.news import News

if TYPE_CHECKING:
    from hephaestus_pg.execution.executor import Executor
    from hephaestus_pg.values.instance import Instance

logger = logging.getLogger("hephaestus_pg")

INTERVAL = 0.02
"""Seconds between two notifications of a storage, at least."""

TIMEOUT = 2.0
"""Seconds that a notification may take: whoever waits looks by himself a little later."""


class Notifier:
    """Sends news of writes on a ``channel``: after their answers, and many in one.

    A notification is a transaction of its own, because those that notify commit one by one, on the
    whole server. It is lost where the server cannot be asked: those who wait look by themselves.
    """

    def __init__(self, executor: Executor, channel: str) -> None:
        self._executor = executor
        self._channel = channel
        self.sender = uuid4().hex[:12]
        """By which its own storage knows its notifications."""
        self._news = News.none()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._sent = -INTERVAL

    def written(self, instance: Instance) -> None:
        """Tells of a write, soon."""
        self._news.add(instance)
        self._plan()

    def tell(self, news: News) -> None:
        """Tells of what was written, soon."""
        if news:
            self._news.merge(news)
            self._plan()

    async def close(self) -> None:
        """Sends what there is; nothing after that."""
        if self._task is not None:
            await asyncio.wait({self._task})  # what was written meanwhile comes after it
        if self._timer is not None:
            self._timer.cancel()
            self._start()
        if self._task is not None:
            await asyncio.wait({self._task})

    def _plan(self) -> None:
        if self._timer is None and self._task is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._sent + INTERVAL, self._start)

    def _start(self) -> None:
        self._timer = None
        self._task = asyncio.create_task(self._send())
        self._task.add_done_callback(self._ended)

    async def _send(self) -> None:
        news, self._news = self._news, News.none()
        self._sent = asyncio.get_running_loop().time()
        try:
            with self._executor.operation("notify", None, None) as latest:
                await self._executor.fetch(
                    min(latest, self._sent + TIMEOUT),
                    self._executor.statements.notify,
                    self._channel,
                    news.payload(self.sender),
                )
        except HephaestusError as error:
            logger.debug("a notification was lost, and others look later: %s", error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a notification has failed", exc_info=error)
        if self._news:
            self._plan()
