"""The listener: hears what other processes write, on one connection for all storages of a pool."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from hephaestus_pg.driver.connection import terminate
from hephaestus_pg.driver.errors import translated_errors
from hephaestus_pg.driver.pool import connect_beside
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.errors import DatabaseError
from hephaestus_pg.watch.news import News, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpg import Connection, Pool, Record

    from hephaestus_pg.execution.statements import Statement, Statements

logger = logging.getLogger("hephaestus_pg")

LEASE = 20.0
"""Seconds after its last sign of life until others notify a storage no more."""

BEAT_SECONDS = 4.0
"""Seconds between two signs of life, which also find out whether the connection is alive."""

RETRY_SECONDS = 1.0
"""Seconds until the next try to connect."""

LINGER_SECONDS = 5.0
"""Seconds for which the connection is kept after the last who needed it."""


class Subscription:
    """What a storage listens to: the ``channel`` of its schema.

    Its row among the runners, which has no workflows, tells other processes that somebody listens.
    ``on_news`` is called with each news, and with news of anything whenever it begins to listen:
    what was written before that, nobody has told it. Notifications from one sender, its own
    storage's, are passed over.
    """

    def __init__(
        self,
        channel: str,
        statements: Statements,
        *,
        name: str,
        but_from: str,
        on_news: Callable[[News], None],
    ) -> None:
        self.channel = channel
        self.is_listening = False
        """It hears what others write."""
        self._statements = statements
        self._name = name
        self._but_from = but_from
        self._on_news = on_news
        self._token = str(uuid4())

    async def begin(self, connection: Connection[Any]) -> None:
        """Listens on the connection from now on."""
        with translated_errors():
            async with asyncio.timeout(BEAT_SECONDS):
                await connection.add_listener(self.channel, self._heard)
        await self._register(connection)
        self.is_listening = True
        self._on_news(News.anything())

    async def beat(self, connection: Connection[Any]) -> None:
        """Gives a sign of life."""
        if not await self._send(connection, self._statements.beat, str(LEASE)):
            await self._register(connection)

    async def end(self, connection: Connection[Any]) -> None:
        """Listens on the connection no more."""
        self.is_listening = False
        with translated_errors():
            async with asyncio.timeout(BEAT_SECONDS):
                await connection.remove_listener(self.channel, self._heard)
        await self._send(connection, self._statements.end_runner)

    async def _register(self, connection: Connection[Any]) -> None:
        await self._send(connection, self._statements.end_runner)  # that of a connection before
        await self._send(connection, self._statements.register, self._name, [], str(LEASE))

    async def _send(
        self, connection: Connection[Any], statement: Statement, *arguments: Any
    ) -> list[Record]:
        with translated_errors():
            async with asyncio.timeout(BEAT_SECONDS):
                return await fetch_rows(connection, statement.text, (self._token, *arguments))

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        news = parse(str(payload), but_from=self._but_from)
        if news is not None and self.is_listening:
            self._on_news(news)


class Listener:
    """Listens for the storages of a ``pool``, while one of them needs it."""

    def __init__(self, pool: Pool[Any]) -> None:
        self._pool = pool
        self._wanted: set[Subscription] = set()
        self._timers: dict[Subscription, asyncio.TimerHandle] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_ending = False
        """Its task is cancelled because nobody needs it, rather than by a program that ends."""

    @classmethod
    def of(cls, pool: Pool[Any]) -> Listener:
        """Returns the listener of a pool, which is one for all of its storages."""
        return _listeners.get(id(pool)) or cls(pool)

    def add(self, subscription: Subscription) -> None:
        """Listens for it, as soon as it can, until it is removed."""
        if (timer := self._timers.pop(subscription, None)) is not None:
            timer.cancel()
        self._wanted.add(subscription)
        self._changed.set()
        if self._task is None:
            _listeners[id(self._pool)] = self
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._ended)

    def remove_soon(self, subscription: Subscription) -> None:
        """Listens for it no more after a while, lest each who waits opens a connection."""
        loop = asyncio.get_running_loop()
        self._timers[subscription] = loop.call_later(LINGER_SECONDS, self._remove, subscription)

    async def remove(self, subscription: Subscription) -> None:
        """Listens for it no more; without any it ends, and waits for that."""
        if (timer := self._timers.pop(subscription, None)) is not None:
            timer.cancel()
        self._remove(subscription)
        if self._task is not None and not self._wanted:
            await asyncio.wait({self._task})

    def _remove(self, subscription: Subscription) -> None:
        self._timers.pop(subscription, None)
        if subscription in self._wanted:
            self._wanted.discard(subscription)
            self._changed.set()
            if self._task is not None and not self._wanted:
                self._is_ending = True
                self._task.cancel()

    async def _run(self) -> None:
        while self._wanted:
            try:
                await self._listen()
            except DatabaseError as error:
                logger.debug("not listening: %s", error)
            except Exception:
                logger.exception("listening has failed, and is tried again")
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        """Listens until the connection breaks."""
        with translated_errors(connecting=True):
            async with asyncio.timeout(BEAT_SECONDS):
                connection = await connect_beside(self._pool)
        listening: set[Subscription] = set()
        connection.add_termination_listener(lambda _: self._changed.set())
        now = asyncio.get_running_loop().time
        beat_due = now() + BEAT_SECONDS
        try:
            while not connection.is_closed():
                self._changed.clear()
                await self._follow(connection, listening)
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(beat_due):
                        await self._changed.wait()
                if now() >= beat_due:  # however often something changes
                    for subscription in listening:
                        await subscription.beat(connection)
                    beat_due = now() + BEAT_SECONDS
        except asyncio.CancelledError:
            with suppress(DatabaseError):  # else their rows end by themselves
                for subscription in listening:
                    await subscription.end(connection)
            raise
        finally:
            for subscription in listening:
                subscription.is_listening = False
            terminate(connection)

    async def _follow(self, connection: Connection[Any], listening: set[Subscription]) -> None:
        """Listens to what is wanted, and to nothing else."""
        for subscription in self._wanted - listening:
            listening.add(subscription)
            await subscription.begin(connection)
        for subscription in listening - self._wanted:
            listening.discard(subscription)
            await subscription.end(connection)

    def _ended(self, _task: asyncio.Task[None]) -> None:
        if _listeners.get(id(self._pool)) is self:
            del _listeners[id(self._pool)]
        self._task = None
        is_ending, self._is_ending = self._is_ending, False
        if is_ending and self._wanted:  # it was needed again meanwhile
            self.add(next(iter(self._wanted)))


_listeners: dict[int, Listener] = {}
"""The listeners that have a task, by the identity of their pool, which they keep."""
