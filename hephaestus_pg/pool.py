"""Opening connections and pools, and the driver's errors as ours.

The only place that knows asyncpg's error classes.
"""

from __future__ import annotations

import os
import re
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg import _sql
from hephaestus_pg.errors import (
    AccessDeniedError,
    ConflictError,
    ConnectionLostError,
    DatabaseError,
    InvalidValueError,
    OperationTimeoutError,
    RejectedError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from asyncpg import Connection, Pool, Record
    from asyncpg.pool import PoolConnectionProxy

# user:password@ in a URL, and password=… in a query or a keyword string.
_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):[^@\s]*(?=@)|(password=)[^&\s]+")


def without_password(text: str) -> str:
    """``text`` with the password of every DSN in it replaced by ``***``."""
    return _PASSWORD.sub(
        lambda found: f"{found[1]}:***" if found[1] is not None else f"{found[2]}***", text
    )


def resolved_dsn(dsn: str | None) -> str | None:
    """The DSN to use: the one given, else ``HEPHAESTUS_PG_DSN``; ``None`` leaves it to ``PG*``."""
    return dsn or os.environ.get("HEPHAESTUS_PG_DSN") or None


async def connect(dsn: str | None = None, **options: Any) -> Connection[Any]:
    """A connection of its own, outside any pool.

    Raises:
        DatabaseError: No connection could be had.
    """
    with translated_errors(connecting=True):
        opened: Connection[Any] = await asyncpg.connect(resolved_dsn(dsn), **options)
        return opened


@contextmanager
def translated_errors(*, connecting: bool = False) -> Iterator[None]:
    """Raise the driver's errors from the block as ours, with the driver's as their cause.

    ``connecting``: nothing has been sent yet, so that nothing can have been applied.
    """
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise _ours(error, connecting=connecting) from error
    except TimeoutError as error:
        if isinstance(error, DatabaseError):
            raise
        raise OperationTimeoutError(
            "the deadline passed", applied="no" if connecting else "unknown", retryable=True
        ) from error
    except OSError as error:
        raise _disconnected(error, connecting=connecting) from error


def _disconnected(error: BaseException, *, connecting: bool) -> DatabaseError:
    said = without_password(str(error)) or type(error).__name__
    if connecting:
        return UnavailableError(
            f"no connection to PostgreSQL: {said}; check the DSN and that the server runs",
            applied="no",
            retryable=True,
        )
    return ConnectionLostError(
        f"the connection to PostgreSQL broke: {said}", applied="unknown", retryable=True
    )


def _ours(error: Exception, *, connecting: bool) -> DatabaseError:
    code = getattr(error, "sqlstate", None) or ""
    said = without_password(str(error))
    if not code or code[:2] == "08" or code in {"57P01", "57P02", "57P05"}:
        return _disconnected(error, connecting=connecting)
    if code in {"53300", "57P03", "25006"}:
        return UnavailableError(
            f"PostgreSQL cannot serve this: {said}", applied="no", retryable=True
        )
    if code == "57014":
        return OperationTimeoutError(
            f"PostgreSQL ended the statement: {said}", applied="no", retryable=True
        )
    if code[:2] == "40" or code == "55P03":
        return ConflictError(
            f"another transaction was in the way: {said}",
            applied="unknown" if code == "40003" else "no",
            retryable=True,
        )
    if code[:2] == "28" or code == "42501":
        return AccessDeniedError(
            f"PostgreSQL refused access: {said}", applied="no", retryable=False
        )
    return RejectedError(
        f"PostgreSQL refused the statement: {said} ({code})",
        applied="no",
        retryable=code[:2] in {"53", "58"},
    )


class Database:
    """A pool, and the schema that its statements run in.

    ``owned`` pools are closed with it; a caller's own pool stays open.
    """

    def __init__(self, pool: Pool[Any], *, schema: str, owned: bool) -> None:
        self.pool = pool
        self.schema = schema
        self._owned = owned

    async def fetch(self, statement: str, *arguments: Any) -> list[Record]:
        """Run ``sql/queries/<statement>.sql`` on a connection of the pool."""
        with translated_errors():
            return await self.pool.fetch(_sql.statement(statement, self.schema), *arguments)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PoolConnectionProxy[Any]]:
        """A connection of the pool, for as long as the block runs."""
        with translated_errors():
            async with self.pool.acquire() as connection:
                yield connection

    async def close(self) -> None:
        """Close the pool, if it is ours."""
        if self._owned:
            await self.pool.close()


async def open_database(
    dsn: str | None, pool: Pool[Any] | None, *, schema: str, **options: Any
) -> Database:
    """The caller's ``pool``, or a new one for ``dsn`` with asyncpg's own ``options``.

    Raises:
        InvalidValueError: Both are given, or options beside a pool.
        DatabaseError: No connection could be had.
    """
    schema = _sql.checked_schema(schema)
    if pool is not None:
        if dsn is not None:
            raise InvalidValueError("dsn", without_password(dsn), "give a dsn or a pool, not both")
        if options:
            raise InvalidValueError(
                "options", sorted(options), "they are for a pool of our own; set them on yours"
            )
        return Database(pool, schema=schema, owned=False)
    with translated_errors(connecting=True):
        opened = await asyncpg.create_pool(resolved_dsn(dsn), **{**_POOL_DEFAULTS, **options})
    return Database(opened, schema=schema, owned=True)


async def _keep_session(_: Any) -> None:
    """Instead of asyncpg's reset, a round trip at each release: we leave nothing in a session."""


# asyncpg's default of ten connections at once for each pool is a storm where tenants are many.
_POOL_DEFAULTS: dict[str, Any] = {"min_size": 1, "max_size": 10, "reset": _keep_session}
