"""Connections that callers give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg.errors import InvalidTypeError

if TYPE_CHECKING:
    from hephaestus_pg.driver.errors import AnyConnection


def checked_connection(connection: Any) -> AnyConnection:
    """``connection`` itself, when it is one of asyncpg's own, by itself or of a pool.

    Raises:
        InvalidTypeError: It is not; the message says how to get at the one behind it.
    """
    if isinstance(connection, asyncpg.Connection):
        return connection
    advice = "give a connection of asyncpg"
    if isinstance(connection, asyncpg.Pool):
        advice = "take a connection of it: async with pool.acquire() as connection"
    elif hasattr(connection, "get_raw_connection"):
        advice += ": (await connection.get_raw_connection()).driver_connection"
    elif hasattr(connection, "get_bind") and hasattr(connection, "connection"):  # a session
        advice += ": (await (await session.connection()).get_raw_connection()).driver_connection"
    elif hasattr(connection, "driver_connection"):
        advice += ": its driver_connection"
    elif hasattr(connection, "__await__"):
        advice += ": await this one"
    raise InvalidTypeError("connection", connection, advice)
