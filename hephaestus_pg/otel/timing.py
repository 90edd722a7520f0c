"""The times of a statement and of its calls: queued, waiting for a connection, executing."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from hephaestus_pg.batching.queue import Request
from hephaestus_pg.driver.connection import Server
from hephaestus_pg.otel.callers import callers_span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Pool

    from hephaestus_pg.batching.queue import Run
    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.execution.connections import Connections
    from hephaestus_pg.otel.naming import Naming


class MarkedRequest(Request):
    """A request that knows since when it waits, and the span of its call."""

    __slots__ = ("queued_at", "span")

    def __init__(self, *given: Any) -> None:
        Request.__init__(self, *given)
        self.queued_at = monotonic()
        self.span = callers_span()

    @classmethod
    def run_for(cls, run: Run, batch: list[Any]) -> Run:
        """See :class:`Request`."""
        return partial(run, batch=batch)


class TimedConnections:
    """Lends connections of a ``source`` for one statement, and times its tries.

    See :class:`Connections`.
    """

    __slots__ = ("_naming", "_since", "_source", "batch", "executing", "pool", "tries", "waited")

    def __init__(
        self, source: Connections, naming: Naming, batch: Sequence[MarkedRequest] = ()
    ) -> None:
        self._source = source
        self._naming = naming
        self._since: float | None = None
        self.pool: Pool[Any] = source.pool
        self.batch = batch
        """The requests that the statement answers; none if it was not gathered."""
        self.tries = 0
        self.waited = 0.0
        """Seconds until it had a connection."""
        self.executing = 0.0
        """Seconds that it had one."""

    @property
    def idle(self) -> int:
        """See :class:`Connections`."""
        return self._source.idle

    def try_acquire(self, text: str) -> AnyConnection | None:
        """See :class:`Connections`."""
        self.tries += 1
        connection = self._source.try_acquire(text)
        if connection is not None:
            self._acquired(connection)
        return connection

    async def acquire(self, text: str) -> AnyConnection:
        """See :class:`Connections`."""
        began = monotonic()
        try:
            connection = await self._source.acquire(text)
        finally:
            self.waited += monotonic() - began
        self._acquired(connection)
        return connection

    def lend(self, connection: AnyConnection) -> AnyConnection:
        """See :class:`Connections`."""
        return self._source.lend(connection)

    def try_release(self, connection: AnyConnection) -> bool:
        """See :class:`Connections`."""
        self._released()
        return self._source.try_release(connection)

    async def release(self, connection: AnyConnection) -> None:
        """See :class:`Connections`."""
        self._released()
        await self._source.release(connection)

    async def close(self) -> None:
        """See :class:`Connections`."""
        await self._source.close()

    def _acquired(self, connection: AnyConnection) -> None:
        self._naming.learn(Server.behind(connection))
        self._since = monotonic()

    def _released(self) -> None:
        if self._since is not None:
            self.executing += monotonic() - self._since
            self._since = None
