"""The driver's errors as ours. The only place that knows asyncpg's error classes."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg.dsn.text import without_password
from hephaestus_pg.errors import (
    AccessDeniedError,
    ConcurrentUseError,
    ConflictError,
    ConnectionLostError,
    DatabaseError,
    OperationTimeoutError,
    RejectedError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from asyncpg import Connection
    from asyncpg.pool import PoolConnectionProxy

    from hephaestus_pg.errors import Applied

    AnyConnection = Connection[Any] | PoolConnectionProxy[Any]

DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # TimeoutError too
)
"""What asyncpg raises. The second and third are no kind of the first, which usual filters miss."""


@contextmanager
def translated_errors(
    *, connecting: bool = False, connection: AnyConnection | None = None
) -> Iterator[None]:
    """Raise the driver's errors from the block as ours, with the driver's as their cause."""
    try:
        yield
    except DRIVER_ERRORS as error:
        if isinstance(error, DatabaseError):
            raise
        raise translated(error, connecting=connecting, connection=connection) from error


def translated(
    error: Exception, *, connecting: bool = False, connection: AnyConnection | None = None
) -> DatabaseError:
    """One of :data:`DRIVER_ERRORS` as ours.

    ``connecting``: nothing has been sent yet, so that nothing can have been applied.
    ``connection`` is the one that it came from, if any. No message holds a password or what a row
    holds, nor does the driver's error any more.
    """
    if not isinstance(error, OSError) and error.args:
        error.args = (without_password(_QUOTED.sub(r"\1 (", str(error.args[0]))), *error.args[1:])
    missing = ""
    # Not what a trigger of the owner's met: that has a context.
    if isinstance(error, (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)) and not (
        error.context or error.internal_query
    ):
        missing = str(error.args[0])
    ours = _mapped(error, connecting=connecting)
    if isinstance(error, asyncpg.PostgresError):
        error.detail = error.context = error.internal_query = None  # the server quotes rows there
    # The column of an index that is exchanged for another comes and goes.
    if isinstance(ours, RejectedError) and "hephaestus_pg_initial" not in missing:
        ours.missing = missing
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError) and _is_primary(connection):
        return RejectedError(
            f"this session may only read, though the server is no standby: {error.args[0]}; "
            "default_transaction_read_only is on for the database, the role, the DSN or the "
            "server, which some hosts do where the disk is full: free it, or ALTER … RESET "
            "default_transaction_read_only",
            applied="no",
            retryable=False,
        )
    return ours


def _is_primary(connection: AnyConnection | None) -> bool:
    """Whether the server said that it is none that follows another, but that sessions only read.

    Through a pooler it may have said so for another server, or not at all.
    """
    if connection is None:
        return False
    try:
        settings: Any = connection.get_settings()
    except asyncpg.InterfaceError:  # it went back to its pool, or is closed
        return False
    return (
        getattr(settings, "in_hot_standby", None) == "off"
        and getattr(settings, "default_transaction_read_only", None) == "on"
    )


# The driver shows an argument that it cannot encode.
_QUOTED = re.compile(r"(invalid input for query argument [^:]*): .* \(", re.DOTALL)


def is_lost(error: Exception) -> bool:
    """Whether ``error``, the driver's or ours, says that its pool had better connect anew.

    Where one connection is dead, or leads to a standby, the others mostly are and do. But where
    there is none to spare, those that there are are all that there will be.
    """
    if isinstance(error.__cause__ or error, asyncpg.TooManyConnectionsError):
        return False
    if isinstance(error, DRIVER_ERRORS) and not isinstance(error, (OSError, DatabaseError)):
        error = _mapped(error, connecting=False)
    return isinstance(error, (ConnectionLostError, UnavailableError))


def said_by(error: Exception) -> str:
    """What one of :data:`DRIVER_ERRORS` says, without a password."""
    shown = str(error) if isinstance(error, OSError) else str(error.args[0]) if error.args else ""
    return without_password(shown or type(error).__name__)


def _mapped(error: Exception, *, connecting: bool) -> DatabaseError:
    said = said_by(error)
    code = getattr(error, "sqlstate", None)
    if isinstance(error, asyncpg.InvalidCachedStatementError):  # the driver has dropped its plans
        return ConflictError(f"the schema changed: {said}", applied="no", retryable=True)
    if code is not None:
        ours = _of_the_server(code, said, connecting=connecting)
        if code == "23505" and not _OF_ID.match(getattr(error, "detail", None) or ""):
            ours.retryable = False  # an index of the user's own: the other row will stay
        return ours
    if isinstance(error, TimeoutError):
        # A deadline passes by a cancel, on which the place is noted that was waited for.
        notes = getattr(error.__cause__, "__notes__", [_NONE_FREE] if connecting else [])
        return OperationTimeoutError(
            ": ".join(["the deadline passed", *notes]),
            applied="no" if connecting else "unknown",
            retryable=True,
        )
    if isinstance(error, asyncpg.InterfaceError):
        if "another operation" in said:
            return ConcurrentUseError()
        if said.startswith("pool is clos"):
            return UnavailableError(
                "the pool is closed; start a storage on one that is open",
                applied="no",
                retryable=False,
            )
        if not re.search(r"clos(ed|ing)|released", said):
            return RejectedError(
                f"the driver refused the call: {said}", applied="no", retryable=False
            )
        return _disconnected(said, connecting=connecting, applied="no")
    if isinstance(error, asyncpg.OutdatedSchemaCacheError):  # seen in the answer: it was done
        return ConflictError(
            f"the schema changed: {said}",
            applied="no" if connecting else "unknown",
            retryable=True,
        )
    return _disconnected(said, connecting=connecting)


_NONE_FREE = (
    "no connection of the pool came free or could be opened; within a transaction use its own "
    "verbs, which need no other, or give the pool a larger max_size"
)


def _disconnected(said: str, *, connecting: bool, applied: Applied = "unknown") -> DatabaseError:
    if connecting:
        return UnavailableError(
            f"no connection to PostgreSQL: {said}; check the DSN and that the server runs",
            applied="no",
            retryable=True,
        )
    effect = (
        "had no effect" if applied == "no" else "may have had its effect: read before you write"
    )
    return ConnectionLostError(
        f"the connection to PostgreSQL broke: {said}; the statement {effect}",
        applied=applied,
        retryable=True,
    )


# By SQLSTATE, or its class: https://www.postgresql.org/docs/current/errcodes-appendix.html
_BROKEN = {"08", "57P01", "57P02", "57P05"}
_UNAVAILABLE = {
    "53300": "it has no connection to spare",
    "57P03": "it is starting or shutting down",
    "25006": "it is a standby, or was made one, or the transaction is read-only",
}
# A statement prepared in one session is not known in another, or there is one of its name.
_POOLED = {"26000", "42P05"}
_CONFLICTS = {"40", "55P03"}
# While the index over ids is built anew concurrently, ON CONFLICT may see two of it or none.
_PASSING = {"53", "58", "23505", "42P10"}
_DENIED = {"28", "42501"}
# The detail of a violation, in whatever language: Key (id)=(…) already exists.
_OF_ID = re.compile(r"[^(]*\(id\)=\(")


def _of_the_server(code: str, said: str, *, connecting: bool) -> DatabaseError:
    def of(codes: Collection[str]) -> bool:
        return code in codes or code[:2] in codes

    if code in _POOLED or (code == "08P01" and "prepared statement" in said):
        return RejectedError(
            f"PostgreSQL refused the statement: {said} ({code}); a pooler, such as PgBouncer, gave "
            "the session to somebody else: start with pgbouncer=True, or make your own pool with "
            "statement_cache_size=0",
            applied="no",
            retryable=False,
        )
    if of(_BROKEN):
        return _disconnected(said, connecting=connecting)
    if of(_UNAVAILABLE):
        return UnavailableError(
            f"PostgreSQL cannot serve this, {_UNAVAILABLE[code]}: {said}",
            applied="no",
            retryable=True,
        )
    if code == "57014":
        return OperationTimeoutError(
            f"PostgreSQL ended the statement: {said}", applied="no", retryable=True
        )
    if of(_CONFLICTS):
        return ConflictError(
            f"another transaction was in the way: {said}; do it again",
            applied="unknown" if code == "40003" and not connecting else "no",
            retryable=True,
        )
    if code == "25P02":
        return RejectedError(
            "a statement of this transaction has failed, so that nothing of it can be kept: let "
            "its error leave the transaction's block, or give a statement that may fail a "
            f"savepoint, `async with tx.connection.transaction()` ({said})",
            applied="no",
            retryable=False,
        )
    if of(_DENIED):
        return AccessDeniedError(
            f"PostgreSQL refused access: {said}; check the role and what it is granted",
            applied="no",
            retryable=False,
        )
    return RejectedError(
        f"PostgreSQL refused the statement: {said} ({code})", applied="no", retryable=of(_PASSING)
    )
