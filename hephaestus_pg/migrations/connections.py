"""The connection that migrates: the caller's or our own, checked before and left in order after."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from hephaestus_pg import _sql
from hephaestus_pg.driver.connection import checked_connection, clean_up
from hephaestus_pg.driver.connector import connect
from hephaestus_pg.driver.errors import translated_errors
from hephaestus_pg.errors import InvalidValueError, MigrationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hephaestus_pg.driver.errors import AnyConnection

CLEANUP_SECONDS = 5.0
"""Seconds for a lock to be given back, a transaction to be rolled back, a connection to close."""


@asynccontextmanager
async def connected(
    dsn: str | None, connection: AnyConnection | None, schema: str
) -> AsyncIterator[AnyConnection]:
    """Gives the caller's connection, or one of our own that ends with the block.

    Raises:
        InvalidValueError: No schema can have that name, or the DSN cannot be read; or there is a
            connection, and a DSN too.
        InvalidTypeError: The connection is none of asyncpg's, such as a pool.
    """
    _sql.checked_schema(schema)
    if connection is not None:
        if dsn is not None:
            raise InvalidValueError(
                "connection", connection, "give a dsn or a connection, not both"
            )
        given = checked_connection(connection)
        with translated_errors(connection=given):
            yield given
        return
    # Every plan here is made once, for tables that change under it: nothing is worth caching.
    own = await connect(dsn, statement_cache_size=0)
    try:
        with translated_errors(connection=own):
            yield own
    finally:
        await clean_up(own, own.close, seconds=CLEANUP_SECONDS)


async def check_connection(connection: AnyConnection, schema: str) -> bool:
    """Refuses a connection over which nothing can be changed; returns if the server has Citus.

    Raises:
        InvalidValueError: It is in a transaction.
        MigrationError: It goes through a pooler, to a standby, to a worker node, or is read-only.
    """
    if connection.is_in_transaction():
        raise InvalidValueError(
            "connection", connection, "give one outside a transaction: each version is its own"
        )
    found: Any = await connection.fetchrow(_sql.statement("migrations_session", schema))
    # A pooler makes up the process ids that its clients see. What is set or locked through it lands
    # on whichever session comes, and would stay there for somebody else.
    if found["pid"] != connection.get_server_pid():
        raise MigrationError(
            schema,
            f"schema {schema!r} cannot be changed through a pooler, such as PgBouncer: the "
            "lock of a migration belongs to one session; connect to the server itself",
        )
    if found["standby"]:
        raise MigrationError(
            schema, f"schema {schema!r} cannot be changed on a standby; connect to the primary"
        )
    if found["has_citus"] and await connection.fetchval(
        _sql.statement("migrations_worker", schema)
    ):
        raise MigrationError(
            schema,
            f"schema {schema!r} cannot be changed on a worker node of a Citus cluster; connect to "
            "the coordinator",
        )
    if found["read_only"] == "on":
        raise MigrationError(
            schema,
            f"schema {schema!r} cannot be changed: a setting of the role, the database or the "
            "connection makes every transaction read-only (default_transaction_read_only = on); "
            "migrate as another role, or set it to off for this one",
        )
    return bool(found["has_citus"])
