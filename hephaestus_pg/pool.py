"""Opening connections and pools, and the driver's errors as ours.

The only place that knows asyncpg's error classes.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg.errors import (
    AccessDeniedError,
    ConcurrentUseError,
    ConflictError,
    ConnectionLostError,
    DatabaseError,
    InvalidValueError,
    OperationTimeoutError,
    RejectedError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpg import Connection, Pool

# user:password@ in a URL, and password=… in a query or a keyword string.
_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):\S*(?=@)|(password=)[^&\s]+")


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
        InvalidValueError: The DSN cannot be read.
        DatabaseError: No connection could be had.
    """
    with _connecting(dsn):
        opened: Connection[Any] = await asyncpg.connect(resolved_dsn(dsn), **options)
        return opened


@contextmanager
def _connecting(dsn: str | None) -> Iterator[None]:
    with translated_errors(connecting=True):
        try:
            yield
        except ValueError as error:
            # What is no error of the driver's own may quote any part of what it could not read.
            known = isinstance(error, asyncpg.ClientConfigurationError)
            shown = without_password(resolved_dsn(dsn) or "(from the PG* variables)")
            advice = str(error) if known else "give postgresql://user@host:port/database"
            raise InvalidValueError("dsn", shown, advice) from None


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
    if "another operation is in progress" in said:
        return ConcurrentUseError()
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


async def open_pool(dsn: str | None, **options: Any) -> Pool[Any]:
    """A pool of our own, with asyncpg's options where ours don't suit.

    Raises:
        InvalidValueError: The DSN cannot be read.
        DatabaseError: No connection could be had.
    """
    pool = asyncpg.create_pool(resolved_dsn(dsn), **{**_POOL_DEFAULTS, **options})
    with _connecting(dsn):
        return await pool


async def _keep_session(_: Any) -> None:
    """Instead of asyncpg's reset, a round trip at each release: we leave nothing in a session."""


# asyncpg's default of ten connections at once for each pool is a storm where tenants are many.
_POOL_DEFAULTS: dict[str, Any] = {"min_size": 1, "max_size": 10, "reset": _keep_session}
