"""Fencing a lost write: ending the server's process that may still carry it out.

The server may notice late that a connection broke, and its backend may then carry out what it was
sent. After a second try, or a look at the row, that would undo what came since.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from hephaestus_pg.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.execution.statements import Statement

POLL_SECONDS = 0.02
"""Seconds between two looks whether a backend has ended."""

_DRIFT, _SLACK = 0.001, 1.0
"""The drift of clocks that is allowed for, as a share of the time, and seconds beside it."""


class Backend(NamedTuple):
    """The server's process behind a connection, as far as a client knows it."""

    pid: int
    """0 where the server does not say."""
    since: float
    """A time of the loop's clock at which it ran: a later one of the same pid is another."""

    @classmethod
    def behind(cls, connection: AnyConnection, now: float) -> Backend:
        """The backend of a connection which is open ``now``."""
        return cls(connection.get_server_pid(), getattr(connection, "opened_at", now))

    async def terminate(
        self, connection: AnyConnection, statement: Statement, now: float
    ) -> bool | None:
        """Tells the backend to end, over another connection; ``True`` if it has ended already.

        ``None``: nobody can tell. Behind a pooler nobody knows whose process an id is.
        """
        # Only a duration goes across, so that no two clocks have to agree.
        age = (now - self.since) * (1 - _DRIFT) - _SLACK
        given = (self.pid, connection.get_server_pid(), age)
        row: Any = await connection.fetchrow(statement.text, *map(str, given))
        return row["told_to_end"] == "0" if self.pid and row["direct"] == "true" else None


async def fence(terminate: Callable[[], Awaitable[bool | None]]) -> bool:
    """Ends a backend; ``True`` if it is known to have ended.

    ``terminate`` runs :meth:`Backend.terminate` on some connection, here until the backend has
    ended. It raises a :class:`DatabaseError` when the time is over.
    """
    try:
        while (ended := await terminate()) is False:  # noqa: ASYNC110 - the server ends it
            await asyncio.sleep(POLL_SECONDS)
    except DatabaseError:
        return False
    return ended is True
