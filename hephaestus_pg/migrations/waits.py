"""Waits for locks that others hold, with a warning in the log that names the holders."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from hephaestus_pg import _sql
from hephaestus_pg.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg import Record

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.errors import DatabaseError

RETRY_INTERVAL = 0.1
"""Seconds between two tries, in which statements that queued behind the last have their turn."""

WARN_AFTER = 2.0
"""Seconds of waiting after which the log names who holds the lock."""

_UNIQUE_VIOLATION = "23505"
_INTERNAL_ERROR = "XX000"
_DUPLICATE = {"42P07", "42710"}  # duplicate_table, duplicate_object

# What Citus says without a code of its own: a worker node gave up waiting for a lock; another table
# is copied while its writers go on, which it does one at a time.
_CITUS_CONFLICTS = ("connection marked as essential", "operation is in progress")

logger = logging.getLogger("hephaestus_pg")


class Wait:
    """A limited wait for the lock of a schema's migrations, or for those of its tables."""

    def __init__(
        self,
        connection: AnyConnection,
        schema: str,
        *,
        seconds: float,
        advisory: bool = False,
        on_citus: bool = False,
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._advisory = advisory
        self._on_citus = on_citus
        self._began = time.monotonic()
        self._until = self._began + seconds
        self._warned = False

    @property
    def is_over(self) -> bool:
        """True once the time has passed."""
        return time.monotonic() >= self._until

    async def pause(self) -> None:
        """Lets a moment pass before the next try; once, when it has been long, logs a warning."""
        if not self._warned and time.monotonic() >= self._began + WARN_AFTER:
            self._warned = True
            what = "the lock of its migrations" if self._advisory else "its tables"
            _warn(self._schema, what, await self.holders())
        await asyncio.sleep(RETRY_INTERVAL)

    async def holders(self) -> str:
        """Names the sessions that hold the lock at this moment."""
        elsewhere = "on a worker node (citus_lock_waits), or " if self._on_citus else ""
        return await self._holders() or f"somebody {elsewhere}who has just gone"

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Logs a warning if a statement that waits on the server by itself takes long.

        It names the sessions that were there before: the connection is busy once it waits.
        """
        if not (holders := await self._holders()):
            yield
            return
        late = asyncio.get_running_loop().call_later(
            WARN_AFTER, _warn, self._schema, "transactions that use its tables", holders
        )
        try:
            yield
        finally:
            late.cancel()

    async def _holders(self) -> str:
        text = _sql.statement("migrations_holders", self._schema)
        return ", ".join(map(_in_words, await self._connection.fetch(text, self._advisory)))


def is_conflict(error: DatabaseError) -> bool:
    """Returns ``True`` if somebody held what was needed, on this server or on a worker node."""
    if isinstance(error, ConflictError):
        return True
    return error.sqlstate == _INTERNAL_ERROR and any(
        words in str(error) for words in _CITUS_CONFLICTS
    )


def is_race(error: DatabaseError) -> bool:
    """Returns ``True`` if another session made the same object at the same moment.

    CREATE … IF NOT EXISTS looks before it takes a lock, so that the catalog's unique index may
    still refuse it.
    """
    if error.sqlstate == _UNIQUE_VIOLATION:
        cause: Any = error.__cause__
        return bool(cause.schema_name == "pg_catalog")
    if error.sqlstate == _INTERNAL_ERROR:
        return "tuple concurrently" in str(error)
    return error.sqlstate in _DUPLICATE


def _warn(schema: str, what: str, holders: str) -> None:
    logger.warning("schema %s: waiting for %s: %s", schema, what, holders)


def _in_words(row: Record) -> str:
    if row["pid"] is None:
        return "a prepared transaction (pg_prepared_xacts)"
    since = f", since {row['since']} UTC" if row["since"] else ""
    return f"process {row['pid']} ({row['application']}){since}"
