"""The notifier: tells other processes what was written here, while one of them listens."""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from weakref import WeakValueDictionary

from hephaestus_pg.errors import HephaestusError
from hephaestus_pg.verbs.observers import EVERYTHING
from hephaestus_pg.watch.news import News

if TYPE_CHECKING:
    from asyncpg import Pool

    from hephaestus_pg.execution.pool_executor import PoolExecutor
    from hephaestus_pg.values.instance import Instance

logger = logging.getLogger("hephaestus_pg")

INTERVAL = 0.02
"""Seconds between two notifications, at least."""

ASK_SECONDS = 0.1
"""Seconds between two questions who listens, where writes do not ask."""

TIMEOUT = 2.0
"""Seconds that a notification may take: whoever waits looks by himself a little later."""


class Outlet:
    """What a storage has to tell on its ``channel``."""

    def __init__(self, executor: PoolExecutor, channel: str) -> None:
        self.executor = executor
        self.channel = channel
        self.sender = uuid4().hex[:12]
        """By which its own storage knows what it has told."""
        self.notifier = Notifier.of(executor.pool)
        self.asks = False
        """Writes have not asked whether somebody listens."""
        self._ask_at = -inf
        self._listened: str | None = None
        self._news = News.none()
        self._is_closed = False

    def written(self, instance: Instance) -> None:
        """Tells of a write, soon."""
        self._news.add(instance)
        self._plan()

    def tell(self, news: News) -> None:
        """Tells of what was written, soon."""
        if news:
            self._news.merge(news)
            self._plan()

    async def take(self, executor: PoolExecutor, deadline: float) -> str | None:
        """Returns what is to be told now, if somebody listens to that; then it begins anew."""
        news, self._news = self._news, News.none()
        if self.asks:
            await self._ask(executor, deadline)
            if self._listened != EVERYTHING and not (self._listened and news.has_work):
                return None
        return news.payload(self.sender)

    async def _ask(self, executor: PoolExecutor, deadline: float) -> None:
        """Finds out who listens, now and then."""
        now = asyncio.get_running_loop().time()
        if now >= self._ask_at:
            self._ask_at = now + ASK_SECONDS
            statement = self.executor.statements.who_listens
            [row] = await executor.fetch(deadline, statement)
            self._listened = row["listened"]

    async def close(self) -> None:
        """Tells what there is; nothing after that."""
        try:
            await self.notifier.flush(self)
        finally:
            self._is_closed = True

    def _plan(self) -> None:
        if not self._is_closed:
            self.notifier.plan(self)


class Notifier:
    """Notifies for the storages of a ``pool``: after their answers, and of many writes in one.

    A notification is a transaction of its own, because those that notify commit one by one, on the
    whole server. It is lost where the server cannot be asked: those who wait look by themselves.
    """

    def __init__(self) -> None:
        self._outlets: dict[Outlet, None] = {}  # those with news, in the order in which it came
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._sent = -INTERVAL

    @classmethod
    def of(cls, pool: Pool[Any]) -> Notifier:
        """Returns the notifier of a pool, which is one for all of its storages."""
        return _notifiers.setdefault(id(pool), cls())

    @property
    def is_idle(self) -> bool:
        """There is nothing to tell, and nothing on its way."""
        return self._timer is None and self._task is None

    def plan(self, outlet: Outlet) -> None:
        """Takes what the outlet has to tell along with the next notification."""
        self._outlets[outlet] = None
        self._set_timer()

    async def flush(self, outlet: Outlet) -> None:
        """Sends at once what the outlet has to tell, and waits until that is done."""
        if self._task is not None:
            await asyncio.wait({self._task})  # what was written meanwhile comes after it
        if self._task is None and outlet in self._outlets:
            if self._timer is not None:
                self._timer.cancel()
            self._start()
        if self._task is not None:
            await asyncio.wait({self._task})

    def _set_timer(self) -> None:
        if self.is_idle:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._sent + INTERVAL, self._start)

    def _start(self) -> None:
        self._timer = None
        self._task = asyncio.create_task(self._send())
        self._task.add_done_callback(self._ended)

    async def _send(self) -> None:
        outlets, self._outlets = [*self._outlets], {}
        self._sent = asyncio.get_running_loop().time()
        executors = [outlet.executor for outlet in outlets]
        # One that was closed in haste may still be among them.
        executor = next((each for each in executors if not each.lifecycle.closed), executors[0])
        try:
            with executor.operation("notify", None, None) as latest:
                until = min(latest, self._sent + TIMEOUT)
                taken = [(each.channel, await each.take(executor, until)) for each in outlets]
                if told := [(channel, payload) for channel, payload in taken if payload]:
                    channels, payloads = map(list, zip(*told, strict=True))
                    await executor.fetch(until, executor.statements.notify, channels, payloads)
        except HephaestusError as error:
            logger.debug("a notification was lost, and others look later: %s", error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a notification has failed", exc_info=error)
        if self._outlets:
            self._set_timer()


_notifiers: WeakValueDictionary[int, Notifier] = WeakValueDictionary()
"""By the identity of their pool, which the executors of their outlets keep."""
