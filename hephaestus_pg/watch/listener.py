"""The listener: hears what other processes write, on a connection of its own."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from hephaestus_pg.driver.connection import terminate
from hephaestus_pg.driver.errors import translated_errors
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.errors import DatabaseError
from hephaestus_pg.watch.news import News, parse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncpg import Connection, Record

    from hephaestus_pg.execution.statements import Statement, Statements

logger = logging.getLogger("hephaestus_pg")

LEASE = 20.0
"""Seconds after its last sign of life until others notify it no more."""

BEAT_SECONDS = 4.0
"""Seconds between two signs of life, which also find out whether the connection is alive."""

RETRY_SECONDS = 1.0
"""Seconds until the next try to connect."""


class Listener:
    """Listens on a ``channel``, from :meth:`start` until :meth:`stop`.

    Its row among the runners, which has no workflows, tells other processes that somebody listens.
    ``on_news`` is called with each news, and with news of anything whenever it begins to listen:
    what was written before that, nobody has told it. The notifications of one sender, its own
    storage's, are passed over.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        connect: Callable[[], Awaitable[Connection[Any]]],
        statements: Statements,
        channel: str,
        *,
        name: str,
        but_from: str,
        on_news: Callable[[News], None],
    ) -> None:
        self._connect = connect
        self._statements = statements
        self._channel = channel
        self._name = name
        self._but_from = but_from
        self._on_news = on_news
        self._token = str(uuid4())
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_listening = False
        """It hears what others write."""

    def start(self) -> None:
        """Begins to listen, as soon as it can."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
            self._tasks.add(self._task)
            self._task.add_done_callback(self._tasks.discard)

    def end(self) -> None:
        """Begins to end its connection."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def stop(self) -> None:
        """Ends its connection."""
        self.end()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except DatabaseError as error:
                logger.debug("not listening: %s", error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        """Listens until the connection breaks."""
        with translated_errors(connecting=True):
            async with asyncio.timeout(BEAT_SECONDS):
                connection = await self._connect()
        broken = asyncio.Event()
        connection.add_termination_listener(lambda _: broken.set())
        try:
            with translated_errors():
                async with asyncio.timeout(BEAT_SECONDS):
                    await connection.add_listener(self._channel, self._heard)
            await self._send(connection, self._statements.register, self._name, [], str(LEASE))
            self.is_listening = True
            self._on_news(News.anything())
            while not await _is_set_within(broken, BEAT_SECONDS):
                if not await self._send(connection, self._statements.beat, str(LEASE)):
                    await self._send(
                        connection, self._statements.register, self._name, [], str(LEASE)
                    )
        except asyncio.CancelledError:
            with suppress(DatabaseError):  # the row ends by itself
                await self._send(connection, self._statements.end_runner)
            raise
        finally:
            self.is_listening = False
            terminate(connection)

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        if (news := parse(str(payload), but_from=self._but_from)) is not None:
            self._on_news(news)

    async def _send(
        self, connection: Connection[Any], statement: Statement, *arguments: Any
    ) -> list[Record]:
        with translated_errors():
            async with asyncio.timeout(BEAT_SECONDS):
                return await fetch_rows(connection, statement.text, (self._token, *arguments))


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
