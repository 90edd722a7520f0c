"""The listener: hears what other processes write, on one connection for all storages of a pool."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from hephaestus_pg.driver.connection import terminate
from hephaestus_pg.driver.hooks import translate_any
from hephaestus_pg.driver.pool import connect_beside
from hephaestus_pg.errors import DatabaseError, OperationTimeoutError

if TYPE_CHECKING:
    from asyncpg import Connection, Pool

    from hephaestus_pg.watch.subscription import Subscription

logger = logging.getLogger("hephaestus_pg")

BEAT_SECONDS = 2.0
"""Seconds between two signs of life, which also find out whether the connection is alive."""

CONNECT_SECONDS = 4.0
"""Seconds that connecting may take."""

RETRY_SECONDS = 1.0
"""Seconds until the next try to connect, at the most: not all processes come back at once."""

REFUSED_SECONDS = 30.0
"""Seconds until the next try where the server refuses, as on a standby or without the rights."""

_READ_ONLY = "25006"  # nobody can listen on a standby


class Listener:
    """Listens for the storages of a ``pool``, while one of them needs it.

    Its task is there for as long: it looks at what is needed whenever that has changed, and between
    two signs of life.
    """

    def __init__(self, pool: Pool[Any]) -> None:
        self._pool = pool
        self._subscriptions: set[Subscription] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_refused = False

    @classmethod
    def of(cls, pool: Pool[Any]) -> Listener:
        """Returns the listener of a pool, which is one for all of its storages."""
        return _listeners.setdefault(id(pool), cls(pool))

    def follow(self, subscription: Subscription) -> None:
        """Listens for it, as soon as it can and while it is needed."""
        self._subscriptions.add(subscription)
        self._changed.set()
        self._start()

    async def close(self, subscription: Subscription) -> None:
        """Listens for it no more; without any it ends, and waits for that."""
        self._subscriptions.discard(subscription)
        self._changed.set()
        if self._task is not None and not self._subscriptions:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _start(self) -> None:
        is_there = self._task is not None and not self._task.done()
        if self._subscriptions and not is_there:
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("listening has failed", exc_info=error)
        if task is not self._task:  # it was needed again before this was called
            return
        self._task = None
        # Not at once: who cancels every task mostly ends the loop, where none may begin.
        if self._subscriptions:
            task.get_loop().call_later(RETRY_SECONDS, self._start)

    async def _run(self) -> None:
        while self._subscriptions:
            pause = random.uniform(0, RETRY_SECONDS)  # noqa: S311
            try:
                await self._listen()
            except DatabaseError as error:
                if self._refuses(error):
                    pause = REFUSED_SECONDS
            self._drop_needless()
            if self._subscriptions:
                await asyncio.sleep(pause)

    def _refuses(self, error: DatabaseError) -> bool:
        """Logs the error, once where the server refuses."""
        refuses = not error.retryable or error.sqlstate == _READ_ONLY
        level = logging.WARNING if refuses and not self._is_refused else logging.DEBUG
        logger.log(level, "not told of what others write, which is looked for: %s", error)
        self._is_refused |= refuses
        return refuses

    async def _listen(self) -> None:
        """Listens until the connection breaks, or nobody needs it."""
        connection = await self._connect()
        listening: set[Subscription] = set()
        connection.add_termination_listener(lambda _: self._changed.set())
        now = asyncio.get_running_loop().time
        beat_due = now() + BEAT_SECONDS
        try:
            while not connection.is_closed():
                self._changed.clear()
                self._drop_needless()
                if not await self._follow(connection, listening):
                    self._is_refused = False
                if not listening and not self._subscriptions:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(beat_due):
                        await self._changed.wait()
                if now() >= beat_due:  # however often something changes
                    await self._beat(connection, listening)
                    beat_due = now() + BEAT_SECONDS
        except asyncio.CancelledError:
            with suppress(DatabaseError):  # else their rows end by themselves
                for subscription in listening:
                    await subscription.end(connection)
            raise
        finally:
            for subscription in listening:
                subscription.lost()
            terminate(connection)

    async def _connect(self) -> Connection[Any]:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await connect_beside(self._pool)
        except BaseException as error:
            if (ours := translate_any(error, None)) is error:
                raise
            raise ours from error

    def _drop_needless(self) -> None:
        self._subscriptions = {each for each in self._subscriptions if each.is_needed}

    async def _follow(self, connection: Connection[Any], listening: set[Subscription]) -> bool:
        """Listens to what is needed, and to nothing else; ``True`` where some of it is refused."""
        for subscription in listening - self._subscriptions:
            listening.discard(subscription)
            await subscription.end(connection)
        now = asyncio.get_running_loop().time
        for subscription in [*self._subscriptions]:
            listening.add(subscription)
            if now() >= subscription.refused_until:
                try:
                    await subscription.follow(connection)
                except DatabaseError as error:
                    if not self._refuses(error):
                        raise
                    subscription.refused_until = now() + REFUSED_SECONDS
        return any(each.refused_until > now() for each in listening)

    async def _beat(self, connection: Connection[Any], listening: set[Subscription]) -> None:
        registered = [each for each in listening if each.is_registered]
        try:
            for subscription in registered or [*listening][:1]:
                await subscription.beat(connection)
        except OperationTimeoutError:  # cut without a word, and the pool's own likely with it
            await self._pool.expire_connections()
            raise


_listeners: WeakValueDictionary[int, Listener] = WeakValueDictionary()
"""By the identity of their pool, which they keep."""
