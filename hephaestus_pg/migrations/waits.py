"""Waiting for the locks that others hold, and saying for whom."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from hephaestus_pg import _sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg import Record

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.errors import RejectedError

PAUSE = 0.1
"""Seconds between two tries, in which those who had to queue get their turn."""

SAY_AFTER = 2.0
"""Seconds of waiting after which it is said who is in the way."""

logger = logging.getLogger("hephaestus_pg")


class Wait:
    """A wait for the lock of the migrations of a schema, or for those of its tables."""

    def __init__(
        self, connection: AnyConnection, schema: str, *, seconds: float, advisory: bool = False
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._advisory = advisory
        self._began = time.monotonic()
        self._until = self._began + seconds
        self._said = False

    @property
    def is_over(self) -> bool:
        """Whether the time that it may take has passed."""
        return time.monotonic() >= self._until

    async def pause(self) -> None:
        """Let a moment pass before the next try; once, after two seconds, log who is in the way."""
        if not self._said and time.monotonic() >= self._began + SAY_AFTER:
            self._said = True
            what = "the lock of its migrations" if self._advisory else "its tables"
            _say(self._schema, what, await self.holders())
        await asyncio.sleep(PAUSE)

    async def holders(self) -> str:
        """Who holds it at this moment, in words."""
        text = _sql.statement("migrations_holders", self._schema)
        rows = await self._connection.fetch(text, self._advisory)
        return ", ".join(map(_in_words, rows)) or "somebody who has just gone"

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """For a statement that may wait by itself: if it takes long, log who was there before."""
        text = _sql.statement("migrations_holders", self._schema)
        if not (rows := await self._connection.fetch(text, self._advisory)):
            yield
            return
        holders = ", ".join(map(_in_words, rows))
        late = asyncio.get_running_loop().call_later(
            SAY_AFTER, _say, self._schema, "transactions that use its tables", holders
        )
        try:
            yield
        finally:
            late.cancel()


def is_race(error: RejectedError) -> bool:
    """Whether another program made the same thing in the same moment.

    IF NOT EXISTS looks once: then the catalog's key is taken, or the name of a table or a type.
    """
    cause: Any = error.__cause__
    match getattr(cause, "sqlstate", None):
        case "23505":
            return bool(cause.schema_name == "pg_catalog")
        case "XX000":
            return "tuple concurrently" in str(error)
        case code:
            return code in {"42P07", "42710"}


def _say(schema: str, what: str, holders: str) -> None:
    logger.warning("schema %s: waiting for %s: %s", schema, what, holders)


def _in_words(row: Record) -> str:
    if row["pid"] is None:
        return "a prepared transaction (pg_prepared_xacts)"
    since = f", since {row['since']} UTC" if row["since"] else ""
    return f"process {row['pid']} ({row['application']}){since}"
