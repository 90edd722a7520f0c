"""A subscription: what one storage wants to hear, and others to know of that."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from hephaestus_pg.driver.errors import translated_errors
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.watch.news import News, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpg import Connection, Record

    from hephaestus_pg.execution.statements import Statement, Statements

LEASE = 20.0
"""Seconds after its last sign of life until others tell a storage no more."""

LINGER_SECONDS = 5.0
"""Seconds for which it goes on after the last who needed it."""

AGAIN_SECONDS = 0.2
"""Seconds after which news of anything comes again: a writer asks only each 0.1 s who listens."""

ANSWER_SECONDS = 1.5
"""Seconds after which a connection that does not answer counts as cut."""


class Need:
    """Those who need to hear something: ``with`` it, they do."""

    def __init__(self) -> None:
        self._those = 0
        self._until = -inf

    @property
    def lasts(self) -> bool:
        """Somebody needs it, or did a moment ago: not each who waits shall open a connection."""
        return self._those > 0 or asyncio.get_running_loop().time() < self._until

    def __enter__(self) -> None:
        self._those += 1

    def __exit__(self, *_: object) -> None:
        self._those -= 1
        self._until = asyncio.get_running_loop().time() + LINGER_SECONDS


class Subscription:
    """The ``channel`` of a storage's schema, for as long as a connection listens to it.

    Other processes look into the table of runners for what somebody needs to hear: of work, where a
    runner lives, and of everything, where a row has no workflows. That is this one's, while there
    is such a need. ``on_news`` is called with each news, and with news of anything from when on
    there will be some: of what was written before, nobody has told. Those of the storage's own
    ``sender`` are passed over.
    """

    def __init__(
        self,
        channel: str,
        statements: Statements,
        *,
        name: str,
        sender: str,
        on_news: Callable[[News], None],
    ) -> None:
        self.work = Need()
        """Of runners, who need to hear of work."""
        self.everything = Need()
        """Of those who wait for instances."""
        self.is_listening = False
        """It hears what is told."""
        self._channel = channel
        self._statements = statements
        self._name = name
        self._sender = sender
        self._on_news = on_news
        self._token = str(uuid4())
        self.is_registered = False
        """Others know that it needs to hear of everything."""
        self.refused_until = -inf
        """By the event loop's clock: until then the server is not asked for it again."""

    @property
    def is_needed(self) -> bool:
        """Somebody needs to hear something."""
        return self.work.lasts or self.everything.lasts

    @property
    def is_told(self) -> bool:
        """It hears all that somebody needs to."""
        return self.is_listening and (self.is_registered or not self.everything.lasts)

    async def follow(self, connection: Connection[Any]) -> None:
        """Listens on the connection from now on, to what is needed now."""
        is_new = not self.is_listening
        if is_new:
            with translated_errors(connection=connection):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await fetch_rows(connection, self._statements.never_idle.text, ())
                    await connection.add_listener(self._channel, self._heard)
            self.is_listening = True
        if self.everything.lasts and not self.is_registered:
            await self._register(connection)
            is_new = True
        elif self.is_registered and not self.everything.lasts:
            await self._deregister(connection)
        if is_new:
            self._on_news(News.anything())
            loop = asyncio.get_running_loop()
            loop.call_later(AGAIN_SECONDS, self._on_news, News.anything())

    async def beat(self, connection: Connection[Any]) -> None:
        """Gives a sign of life, or finds out at least whether the connection is alive."""
        if not await self._send(connection, self._statements.beat, str(LEASE)):
            self.is_registered = False

    async def end(self, connection: Connection[Any]) -> None:
        """Listens on the connection no more."""
        was_registered = self.is_registered
        self.lost()
        with translated_errors(connection=connection):
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.remove_listener(self._channel, self._heard)
        if was_registered:
            await self._deregister(connection)

    def lost(self) -> None:
        """Notes that the connection is gone."""
        self.is_listening = self.is_registered = False

    async def _register(self, connection: Connection[Any]) -> None:
        await self._deregister(connection)  # a row of a connection before
        await self._send(connection, self._statements.register, self._name, [], str(LEASE))
        self.is_registered = True

    async def _deregister(self, connection: Connection[Any]) -> None:
        self.is_registered = False
        await self._send(connection, self._statements.end_runner)

    async def _send(
        self, connection: Connection[Any], statement: Statement, *arguments: Any
    ) -> list[Record]:
        with translated_errors(connection=connection):
            async with asyncio.timeout(ANSWER_SECONDS):
                return await fetch_rows(connection, statement.text, (self._token, *arguments))

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        news = parse(str(payload), sender=self._sender)
        if news is not None and self.is_listening:
            self._on_news(news)
