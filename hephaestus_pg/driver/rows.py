"""Fetching the rows of a statement, whatever codecs the owner of the connection has set.

Owners set codecs for ``jsonb`` mostly, and for numbers and timestamps. So our statements take and
give only text, with casts in the SQL, and ``oid``, an integer that nobody has a codec for. A codec
for text itself shows in the results, and is an error that says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg.driver.errors import DRIVER_ERRORS, hide_values
from hephaestus_pg.errors import CodecError

if TYPE_CHECKING:
    from asyncpg import Record

    from hephaestus_pg.driver.errors import AnyConnection


async def fetch_rows(
    connection: AnyConnection, text: str, arguments: tuple[Any, ...]
) -> list[Record]:
    """Fetches the rows of the statement ``text``, whose first column is text and never NULL.

    Raises:
        CodecError: A codec for text is in the way.
    """
    try:
        rows: list[Record] = await connection.fetch(text, *arguments)
    except DRIVER_ERRORS as error:
        # Every argument is a text or a list of texts, which the driver's own codec would take.
        if isinstance(error, asyncpg.DataError) and "query argument" in str(error):
            hide_values(error)
            raise CodecError(str(error), applied="no") from error
        raise
    except Exception as error:
        raise CodecError(f"it raised {type(error).__name__}", applied="unknown") from error
    if rows and not isinstance(rows[0][0], str):
        raise CodecError(f"it gives a {type(rows[0][0]).__qualname__}", applied="unknown")
    return rows
