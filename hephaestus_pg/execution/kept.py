"""Connections of a pool of our own that stay in hand from call to call."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from hephaestus_pg.batching.deadlines import DeadlineTimer
from hephaestus_pg.driver.connection import terminate
from hephaestus_pg.execution.connections import give_back

if TYPE_CHECKING:
    from asyncpg import Pool

    from hephaestus_pg.driver.connection import PooledConnection
    from hephaestus_pg.driver.errors import AnyConnection

KEEP_SECONDS = 0.1
"""Seconds without use after which a connection goes back to its pool; it may be twice as long."""

MAX_TURNS = 1000
"""Turns after which a connection goes back to its pool, which may close it for its age."""

PASSED_OVER = 32
"""Turns that later callers may have first, because of what a connection has prepared."""

LOOKED_AT = 100
"""Callers in line among whom one is looked for whom a connection suits, from the first on."""


class _Waiter(NamedTuple):
    text: str
    due: int
    """The count of turns from which on nobody comes first who came later."""


class KeptConnections:
    """The connections of a pool that nobody else uses. See :class:`Connections`.

    It takes them from the pool as they are needed, up to the pool's size, and keeps them for a
    moment: taking one from asyncpg and giving it back is a sixth of what a get costs. Where all are
    in use, callers wait in line, and whoever releases a connection hands it over. One for each
    pool; storages that share a pool share it.

    A connection is not kept after a caller's own code had it, since its session has to be reset,
    nor where it broke or has expired; then the next in line may take another from the pool.
    """

    def __init__(self, pool: Pool[Any]) -> None:
        self.pool = pool
        self._loop = asyncio.get_running_loop()
        self._room = pool.get_max_size()
        """Connections that may still be taken from the pool."""
        self._kept: list[PooledConnection] = []
        """Those that are idle, that which was used last at the end."""
        self._spare = 0
        """The number of them that nobody has needed since the timer last went off."""
        self._line: dict[asyncio.Future[PooledConnection | None], _Waiter] = {}
        """Those who wait, each for a connection, or for ``None``: to take one from the pool."""
        self._turns = 0
        self._timer = DeadlineTimer(self._give_spare_back)
        self._returning: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def idle(self) -> int:
        """See :meth:`Connections.idle`."""
        return sum(not connection.is_closed() for connection in self._kept)

    def try_acquire(self, text: str) -> PooledConnection | None:
        """See :meth:`Connections.try_acquire`."""
        kept = self._kept
        while kept:
            index = _index(kept, text)
            if index < self._spare:
                self._spare -= 1
            connection = kept.pop(index)
            if connection.is_current:
                connection.note(text)
                return connection
            self._return_soon(connection)
        return None

    async def acquire(self, text: str) -> PooledConnection:
        """See :meth:`Connections.acquire`."""
        if self._room:
            self._room -= 1
        elif (handed := await self._wait(text)) is not None:
            handed.note(text)
            return handed
        try:
            proxy: Any = await self.pool.acquire()
        except BaseException:
            self._make_room()
            raise
        connection: PooledConnection = proxy.keep(proxy)
        connection.note(text)
        return connection

    async def _wait(self, text: str) -> PooledConnection | None:
        turn: asyncio.Future[PooledConnection | None] = self._loop.create_future()
        self._line[turn] = _Waiter(text, self._turns + len(self._line) + PASSED_OVER)
        try:
            return await turn
        except BaseException:
            self._line.pop(turn, None)
            if turn.done() and not turn.cancelled():  # its turn had come
                if (connection := turn.result()) is None:
                    self._make_room()
                elif not self.try_release(connection):
                    self._return_soon(connection)
            raise

    def lend(self, connection: AnyConnection) -> AnyConnection:
        """See :meth:`Connections.lend`."""
        return _own(connection).lend()

    def try_release(self, connection: AnyConnection) -> bool:
        """See :meth:`Connections.try_release`."""
        kept = _own(connection)
        kept.turns += 1
        if self._closed or not kept.is_at_rest or kept.turns >= MAX_TURNS:
            return False
        if self._line and (turn := self._next(kept.texts)) is not None:
            turn.set_result(kept)
            return True
        self._kept.append(kept)
        if self._timer.next == inf:
            self._spare = 0
            self._timer.set(self._loop.time() + KEEP_SECONDS)
        return True

    async def release(self, connection: AnyConnection) -> None:
        """See :meth:`Connections.release`."""
        kept = _own(connection)
        try:
            await give_back(self.pool, kept.unkeep())
        finally:
            self._make_room()

    async def close(self) -> None:
        """See :meth:`Connections.close`."""
        self._closed = True
        self._timer.stop()
        while self._kept:
            self._return_soon(self._kept.pop())
        if self._returning:
            await asyncio.wait(self._returning)

    def _next(self, texts: dict[str, None]) -> asyncio.Future[PooledConnection | None] | None:
        """Takes out of the line whose turn it is with a connection that has prepared ``texts``.

        That is the first for whom it has, so that no statement is prepared once more; but those
        come first who have been passed over for long. Of a long line only the head is looked at.
        """
        self._turns += 1
        first = None
        looked_at = 0
        for turn, waiter in self._line.items():
            if turn.done():
                continue
            if waiter.due <= self._turns or waiter.text in texts:
                first = turn
                break
            first = first or turn
            looked_at += 1
            if looked_at == LOOKED_AT:
                break
        if first is not None:
            del self._line[first]
        return first

    def _make_room(self) -> None:
        """Lets the next in line take a connection from the pool, or whoever comes."""
        if self._line and (turn := self._next({})) is not None:
            turn.set_result(None)
        else:
            self._room += 1

    def _give_spare_back(self, now: float) -> float:
        """Gives back what nobody has needed since the last time; returns when it is due again."""
        spare, self._kept = self._kept[: self._spare], self._kept[self._spare :]
        for connection in spare:
            self._return_soon(connection)
        self._spare = len(self._kept)
        return now + KEEP_SECONDS if self._kept else inf

    def _return_soon(self, connection: PooledConnection) -> None:
        """Gives the pool a connection back, in a task of its own, which may be cancelled."""
        proxy = connection.unkeep()  # has no effect any more once it is the pool's again
        self._make_room()
        returning = give_back(self.pool, proxy)
        try:
            task = self._loop.create_task(returning)
        except BaseException:  # a task factory of the user's, for one
            returning.close()
            terminate(proxy)
            raise
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)
        task.add_done_callback(lambda _: terminate(proxy))


def _own(connection: AnyConnection) -> PooledConnection:
    return connection  # type: ignore[return-value]  # no others come from here


def _index(kept: list[PooledConnection], text: str) -> int:
    """The place of a connection that has prepared ``text``; else of that used longest ago.

    Of several it is the one used last, so that the others become spare.
    """
    if not text:
        return len(kept) - 1
    for index in range(len(kept) - 1, -1, -1):
        if text in kept[index].texts:
            return index
    return 0
