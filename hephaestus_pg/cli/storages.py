"""The storages of a command: of one schema, or of each that has the table."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from hephaestus_pg import _sql
from hephaestus_pg.cli.options import TIMEOUT
from hephaestus_pg.driver.connection import terminate
from hephaestus_pg.driver.errors import translated_errors
from hephaestus_pg.driver.pool import open_pool
from hephaestus_pg.errors import MigrationError, SchemaOutdatedError
from hephaestus_pg.storage import AsyncStorage
from hephaestus_pg.values.references import Names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from datetime import datetime

    from asyncpg import Pool

_CLOSE_SECONDS = 2.0


@asynccontextmanager
async def connected(
    dsn: str | None,
    *,
    timeout: float = TIMEOUT,
    pgbouncer: bool = False,
    max_size: int = 1,
    **options: Any,
) -> AsyncIterator[Pool[Any]]:
    """Opens a connection, or up to ``max_size``, which the storages of a command share."""
    pool = await open_pool(dsn, timeout=timeout, pgbouncer=pgbouncer, max_size=max_size, **options)
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await pool.close()
        except TimeoutError:  # of a server that has gone silent
            pool.terminate()


@asynccontextmanager
async def started(
    pool: Pool[Any], schema: str, *, timeout: float = TIMEOUT
) -> AsyncIterator[AsyncStorage]:
    """Starts a storage of text names on ``schema``, and closes it after the block.

    Raises:
        MigrationError: There is no table in it, or the schema is not as it should be.
    """
    with _named_schema(schema):
        storage = await AsyncStorage.start(
            pool=pool,
            name=f"command on {schema}",
            schema=schema,
            references=Names(),
            timeout=timeout,
        )
    async with storage:
        yield storage


@asynccontextmanager
async def opened(
    dsn: str | None, schema: str, *, timeout: float = TIMEOUT, pgbouncer: bool = False
) -> AsyncIterator[AsyncStorage]:
    """Starts a storage on one connection of its own."""
    async with (
        connected(dsn, timeout=timeout, pgbouncer=pgbouncer) as pool,
        started(pool, schema, timeout=timeout) as storage,
    ):
        yield storage


@contextmanager
def _named_schema(schema: str) -> Iterator[None]:
    """Says of a schema without a table that its name may be wrong, not that it is to be made."""
    try:
        yield
    except SchemaOutdatedError as error:
        if error.found != 0:
            raise
        raise MigrationError(
            schema,
            f"there is no table workflow_instances in schema {schema!r}; look at --schema and "
            "--dsn",
        ) from error


async def schemas(pool: Pool[Any], *, timeout: float = TIMEOUT) -> dict[str, bool]:
    """Names the schemas of the database that have a table: ``True`` if this role may read it."""
    with translated_errors():
        async with asyncio.timeout(timeout), pool.acquire() as connection:
            try:
                rows = await connection.fetch(_sql.statement("schemas", "public"))
            except BaseException:
                terminate(connection)  # on a silent network its way back has no end
                raise
    return {row["schema"]: row["may_read"] == "true" for row in rows}


async def server_time(storage: AsyncStorage) -> datetime:
    """Reads the server's clock, by which leases end."""
    async with storage.transaction() as transaction:
        now: datetime = await transaction.connection.fetchval("SELECT statement_timestamp()")
    return now
