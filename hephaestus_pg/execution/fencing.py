"""The server's process behind a connection, and its end when that has broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hephaestus_pg import _sql

if TYPE_CHECKING:
    from hephaestus_pg.driver.errors import AnyConnection

_DRIFT, _SLACK = 0.001, 1.0
"""By how much a server's clock may run faster or slower than ours, and seconds beside that."""


class Backend(NamedTuple):
    """What a client knows of the process that serves its connection."""

    pid: int
    """0 where the server does not say."""
    since: float
    """A moment at which it ran: the earlier, the fewer others can be taken for it."""

    @classmethod
    def behind(cls, connection: AnyConnection, now: float) -> Backend:
        """That of a connection which is open ``now``."""
        return cls(connection.get_server_pid(), getattr(connection, "opened_at", now))

    async def ended(self, connection: AnyConnection, schema: str, now: float) -> bool | None:
        """Whether it is gone, as another connection sees it; if not, it is told to end.

        ``None``: nobody can tell. Behind a pooler nobody knows whose process an id is.
        """
        text = _sql.statement("end_backend", schema)
        # Only a duration goes across, so that no two clocks have to agree.
        age = (now - self.since) * (1 - _DRIFT) - _SLACK
        given = (self.pid, connection.get_server_pid(), age)
        row: Any = await connection.fetchrow(text, *map(str, given))
        return row["living"] == "0" if self.pid and row["direct"] == "true" else None
