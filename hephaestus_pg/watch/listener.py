"""The listener: hears what other processes write, on one connection for all storages of a pool."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from weakref import WeakValueDictionary

from hephaestus_pg.driver.connection import terminate
from hephaestus_pg.driver.errors import translated_errors
from hephaestus_pg.driver.hooks import translate_any
from hephaestus_pg.driver.pool import connect_beside
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.errors import DatabaseError, OperationTimeoutError
from hephaestus_pg.watch.news import News, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpg import Connection, Pool, Record

    from hephaestus_pg.execution.statements import Statement, Statements

logger = logging.getLogger("hephaestus_pg")

LEASE = 20.0
"""Seconds after its last sign of life until others notify a storage no more."""

BEAT_SECONDS = 2.0
"""Seconds between two signs of life, which also find out whether the connection is alive."""

ANSWER_SECONDS = 1.5
"""Seconds after which a connection that does not answer counts as cut."""

CONNECT_SECONDS = 4.0
"""Seconds that connecting may take."""

RETRY_SECONDS = 1.0
"""Seconds until the next try to connect, at the most: not all processes come back at once."""

REFUSED_SECONDS = 30.0
"""Seconds until the next try where the server refuses, as on a standby or without the rights."""

LINGER_SECONDS = 5.0
"""Seconds for which the connection is kept after the last who needed it."""

_READ_ONLY = "25006"  # nobody can listen on a standby

# A role or a database may have the server end sessions that wait for something.
_IS_IDLE = "SET idle_session_timeout = 0"


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
        with translated_errors(connection=connection):
            async with asyncio.timeout(ANSWER_SECONDS):
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
        with translated_errors(connection=connection):
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.remove_listener(self.channel, self._heard)
        await self._send(connection, self._statements.end_runner)

    async def _register(self, connection: Connection[Any]) -> None:
        self._token = str(uuid4())  # one that has expired is never revived
        await self._send(connection, self._statements.register, self._name, [], str(LEASE))

    async def _send(
        self, connection: Connection[Any], statement: Statement, *arguments: Any
    ) -> list[Record]:
        with translated_errors(connection=connection):
            async with asyncio.timeout(ANSWER_SECONDS):
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
        self._is_refused = False

    @classmethod
    def of(cls, pool: Pool[Any]) -> Listener:
        """Returns the listener of a pool, which is one for all of its storages."""
        return _listeners.setdefault(id(pool), cls(pool))

    def add(self, subscription: Subscription) -> None:
        """Listens for it, as soon as it can, until it is removed."""
        if (timer := self._timers.pop(subscription, None)) is not None:
            timer.cancel()
        self._wanted.add(subscription)
        self._changed.set()
        self._start()

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
            subscription.is_listening = False
            self._changed.set()
            if self._task is not None and not self._wanted:
                self._is_ending = True
                self._task.cancel()

    def _start(self) -> None:
        if self._task is None and self._wanted:
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._ended)

    async def _run(self) -> None:
        while True:
            # Lest all processes come back at once.
            pause = random.uniform(0, RETRY_SECONDS)  # noqa: S311
            try:
                await self._listen()
            except DatabaseError as error:
                level = logging.DEBUG
                if not error.retryable or error.sqlstate == _READ_ONLY:
                    pause = REFUSED_SECONDS
                    level = logging.DEBUG if self._is_refused else logging.WARNING
                    self._is_refused = True
                logger.log(level, "not told of what others write, which is looked for: %s", error)
            await asyncio.sleep(pause)

    async def _listen(self) -> None:
        """Listens until the connection breaks."""
        connection = await self._connect()
        listening: set[Subscription] = set()
        connection.add_termination_listener(lambda _: self._changed.set())
        try:
            while not connection.is_closed():
                self._changed.clear()
                await self._follow(connection, listening)
                self._is_refused = False
                with suppress(TimeoutError):
                    async with asyncio.timeout(BEAT_SECONDS):
                        await self._changed.wait()
                        continue
                await self._beat(connection, listening)
        except asyncio.CancelledError:
            with suppress(DatabaseError):  # else their rows end by themselves
                for subscription in listening:
                    await subscription.end(connection)
            raise
        finally:
            for subscription in listening:
                subscription.is_listening = False
            terminate(connection)

    async def _connect(self) -> Connection[Any]:
        connection = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                connection = await connect_beside(self._pool)
                await connection.execute(_IS_IDLE)
                return connection
        except BaseException as error:
            if connection is not None:
                terminate(connection)
            if (ours := translate_any(error, connection)) is error:
                raise
            raise ours from error

    async def _follow(self, connection: Connection[Any], listening: set[Subscription]) -> None:
        """Listens to what is wanted, and to nothing else."""
        for subscription in self._wanted - listening:
            listening.add(subscription)
            await subscription.begin(connection)
        for subscription in listening - self._wanted:
            listening.discard(subscription)
            await subscription.end(connection)

    async def _beat(self, connection: Connection[Any], listening: set[Subscription]) -> None:
        try:
            for subscription in listening:
                await subscription.beat(connection)
        except OperationTimeoutError:  # cut without a word, and the pool's own likely with it
            await self._pool.expire_connections()
            raise

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("listening has failed", exc_info=error)
        if self._is_ending:
            self._is_ending = False
            self._start()  # it may be needed again
        else:  # not at once: who cancels every task mostly ends the loop, where none may begin
            task.get_loop().call_later(RETRY_SECONDS, self._start)


_listeners: WeakValueDictionary[int, Listener] = WeakValueDictionary()
"""By the identity of their pool, which they keep."""
