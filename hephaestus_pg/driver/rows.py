"""The rows of one statement, whatever codecs the owner of the connection has set.

A pool's owner may have set codecs: for ``jsonb`` mostly, and for numbers and moments. So all that
our statements take and give is text, each with a cast of its own, or an ``oid``, which is a whole
number that nobody has a codec for. A codec for text itself is found out by what it gives, and is an
error that says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg.driver.errors import DRIVER_ERRORS, translated
from hephaestus_pg.errors import CodecError

if TYPE_CHECKING:
    from asyncpg import Record

    from hephaestus_pg.driver.errors import AnyConnection


async def fetched(connection: AnyConnection, text: str, arguments: tuple[Any, ...]) -> list[Record]:
    """The rows of the statement ``text``, the first column of which is never NULL."""
    try:
        rows: list[Record] = await connection.fetch(text, *arguments)
    except DRIVER_ERRORS as error:
        # What we give is a text, or a list of them: the driver's own codec takes every one.
        if isinstance(error, asyncpg.DataError) and "query argument" in str(error):
            translated(error)  # it shows the argument no more
            raise CodecError(str(error), applied="no") from error
        raise
    except Exception as error:
        raise CodecError(f"it raised {type(error).__name__}", applied="unknown") from error
    if rows and not isinstance(rows[0][0], str):
        raise CodecError(f"it gives a {type(rows[0][0]).__qualname__}", applied="unknown")
    return rows
