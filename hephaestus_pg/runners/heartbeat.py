"""The heartbeat: a thread with an event loop and a connection of its own.

Neither load on the pool nor a handler that blocks the program's event loop delays it. It counts
from when its last good beat was *sent*, by a clock of this machine: the server counts from when
that arrived, and so never ends a lease before this process does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any

from hephaestus_pg.driver.connection import terminate
from hephaestus_pg.driver.errors import DRIVER_ERRORS
from hephaestus_pg.driver.hooks import translate_any
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncpg import Connection, Record

    from hephaestus_pg.execution.statements import Statement, Statements

logger = logging.getLogger("hephaestus_pg")

BEATS = 4
"""Heartbeats in a lease, and in a ``max_stall`` that is shorter."""

RETRIES = 20
"""Tries in a lease, where heartbeats fail."""

REGISTER_SECONDS = 30.0
"""Seconds that the first connection and the registration may take: no lease has begun by then."""

OWN_SHARE = 0.9
"""The part of a lease after which this process counts itself dead: clocks differ a little."""

_BOOT_TIME = getattr(time, "CLOCK_BOOTTIME", None)


def now() -> float:
    """Seconds on a clock that nobody sets, and that goes on while the machine sleeps if it can."""
    return time.monotonic() if _BOOT_TIME is None else time.clock_gettime(_BOOT_TIME)


class Heartbeat:
    """Registers a runner, and keeps its lease until :meth:`stop`, or until it is dead.

    ``on_death`` is called once in the event loop that made this, with the reason.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        connect: Callable[[], Awaitable[Connection[Any]]],
        statements: Statements,
        *,
        token: str,
        name: str,
        workflows: list[str],
        lease: float,
        max_stall: float,
        on_death: Callable[[str], None],
    ) -> None:
        self._connect = connect
        self._statements = statements
        self._token = token
        self._name = name
        self._workflows = workflows
        self._lease = lease
        self._max_stall = max_stall
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        self._begun: asyncio.Future[None] = self._loop.create_future()
        self._gone = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        # Hooks of the pool may read the context of whoever starts the runner.
        begin = partial(copy_context().run, self._run)
        self._thread = Thread(target=begin, name=f"hephaestus_pg {name}", daemon=True)
        self._thread_loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Task[None] | None = None
        self._connection: Connection[Any] | None = None
        self._is_dead = self._should_stop = False
        self._asked: float | None = None
        """When the program's event loop was asked for an answer, until it gives that."""
        self.last_sent = now()
        """When the last good heartbeat was sent."""

    @property
    def is_alive(self) -> bool:
        """The lease has not ended, by the clock of this machine."""
        return not self._is_dead and now() < self.last_sent + OWN_SHARE * self._lease

    async def start(self) -> None:
        """Registers the runner; its lease begins.

        Raises:
            DatabaseError: No connection could be had, or the server refused.
        """
        self._thread.start()
        await asyncio.shield(self._begun)
        self._watch()

    async def stop(self) -> None:
        """Ends the thread; its connection is closed, and the row stays."""
        self.end()
        if self._thread.is_alive():
            await self._gone.wait()

    def end(self) -> None:
        """Sends no heartbeat any more, not even to its end."""
        self._should_stop = True
        if self._timer is not None:
            self._timer.cancel()
        if self._thread_loop is not None and self._work is not None:
            with suppress(RuntimeError):  # it has ended by itself
                self._thread_loop.call_soon_threadsafe(self._work.cancel)

    def _watch(self) -> None:
        """Looks whether the lease has ended; sometimes, since a sleeping machine stops timers."""
        if not self.is_alive:
            self._die("no heartbeat reached the server in time")
        else:
            rest = self.last_sent + OWN_SHARE * self._lease - now()
            pause = max(min(rest, self._lease / RETRIES), 0.001)
            self._timer = self._loop.call_later(pause, self._watch)

    def _die(self, reason: str) -> None:
        if not self._is_dead:
            self._is_dead = True
            self.end()
            self._on_death(reason)

    # What follows runs in the thread.

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except asyncio.CancelledError:
            pass  # it was to stop
        except RuntimeError as error:  # the program's event loop was closed without a stop
            logger.warning("the heartbeat of runner %s ends: %s", self._name, error)
        except BaseException:
            logger.exception("the heartbeat of runner %s has failed", self._name)
        finally:
            with suppress(RuntimeError):
                self._tell(self._gone.set)

    def _tell(self, what: Callable[..., object], *arguments: Any) -> None:
        self._loop.call_soon_threadsafe(what, *arguments)

    async def _live(self) -> None:
        self._thread_loop, self._work = asyncio.get_running_loop(), asyncio.current_task()
        try:
            if not self._should_stop:  # before there was a task to cancel
                await self._register()
                await self._keep_beating()
        finally:
            self._tell(self._begun.cancel)  # which changes nothing once it is done
            await self._disconnect()

    async def _register(self) -> None:
        try:
            await self._beat(
                self._statements.register,
                self._name,
                self._workflows,
                str(self._lease),
                timeout=REGISTER_SECONDS,
            )
        except Exception as error:  # noqa: BLE001 - it is raised by start
            self._should_stop = True
            self._tell(_fail, self._begun, error)
        else:
            self._tell(_succeed, self._begun)

    async def _keep_beating(self) -> None:
        pause = regular = min(self._lease, self._max_stall) / BEATS
        while not self._should_stop:
            await asyncio.sleep(pause)
            asked = self._asked
            if asked is None:
                self._asked = now()
                self._tell(self._answer)
            elif now() - asked > self._max_stall:
                reason = f"its event loop has not answered for {self._max_stall:g} s"
                logger.error("runner %s is dead: %s", self._name, reason)
                self._is_dead = True  # its loop may never come to hear of it
                self._tell(self._on_death, reason)
                return
            pause = regular
            try:
                row = await self._beat(self._statements.beat, str(self._lease))
            except DatabaseError as error:
                logger.warning("a heartbeat of runner %s failed: %s", self._name, error)
                pause = min(regular, self._lease / RETRIES)
                continue
            if row is None:
                self._tell(self._die, "its lease had ended before the server heard of it")
                return

    def _answer(self) -> None:
        self._asked = None

    async def _beat(
        self, statement: Statement, *arguments: Any, timeout: float | None = None
    ) -> Record | None:
        sent = now()
        connection = self._connection
        try:
            async with asyncio.timeout(timeout or self._lease / BEATS):
                if self._connection is None:
                    self._connection = await self._connect()
                    sent = now()
                given = (self._token, *arguments)
                rows = await fetch_rows(self._connection, statement.text, given)
        except BaseException as error:
            ours = translate_any(error, connection)
            if self._connection is not None:
                terminate(self._connection)
                self._connection = None
            if ours is error:
                raise
            raise ours from error
        if rows:
            self.last_sent = sent
        return rows[0] if rows else None

    async def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(*DRIVER_ERRORS):
                await self._connection.close(timeout=1)


def _succeed(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
