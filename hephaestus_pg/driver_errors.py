"""The driver's errors as ours. The only place that knows asyncpg's error classes."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

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

    from hephaestus_pg.errors import Applied

DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # TimeoutError too
)
"""What asyncpg raises. The second and third are no kind of the first, which usual filters miss."""


@contextmanager
def translated_errors(*, connecting: bool = False) -> Iterator[None]:
    """Raise the driver's errors from the block as ours, with the driver's as their cause."""
    try:
        yield
    except DRIVER_ERRORS as error:
        if isinstance(error, DatabaseError):
            raise
        raise translated(error, connecting=connecting) from error


def translated(error: Exception, *, connecting: bool = False) -> DatabaseError:
    """One of :data:`DRIVER_ERRORS` as ours.

    ``connecting``: nothing has been sent yet, so that nothing can have been applied. No message
    holds a password or what a row holds, nor does the driver's error any more.
    """
    if not isinstance(error, OSError) and error.args:
        error.args = (without_password(_QUOTED.sub(r"\1 (", str(error.args[0]))), *error.args[1:])
    missing = ""
    if isinstance(error, asyncpg.PostgresError):
        # Not what a trigger of the owner's met: that has a context.
        if error.sqlstate in _MISSING and not (error.context or error.internal_query):
            missing = str(error.args[0])
        error.detail = error.context = error.internal_query = None  # the server quotes rows there
    ours = _mapped(error, connecting=connecting)
    # The column of an index that is exchanged for another comes and goes.
    if isinstance(ours, RejectedError) and "hephaestus_pg_initial" not in missing:
        ours.missing = missing
    return ours


_MISSING = {"42P01", "42703"}  # a table, a column


# The driver shows an argument that it cannot encode.
_QUOTED = re.compile(r"(invalid input for query argument [^:]*): .* \(", re.DOTALL)


def is_lost(error: Exception) -> bool:
    """Whether ``error``, the driver's or ours, says that its pool had better connect anew.

    Where one connection is dead, or leads to a standby, the others mostly are and do.
    """
    if isinstance(error, DRIVER_ERRORS) and not isinstance(error, (OSError, DatabaseError)):
        error = _mapped(error, connecting=False)
    return isinstance(error, (ConnectionLostError, UnavailableError))


def _mapped(error: Exception, *, connecting: bool) -> DatabaseError:
    shown = str(error) if isinstance(error, OSError) else str(error.args[0]) if error.args else ""
    said = without_password(shown or type(error).__name__)
    code = getattr(error, "sqlstate", None)
    if isinstance(error, asyncpg.InvalidCachedStatementError):  # the driver has dropped its plans
        return ConflictError(f"the schema changed: {said}", applied="no", retryable=True)
    if code is not None:
        return _of_the_server(code, said, connecting=connecting)
    if isinstance(error, TimeoutError):
        return OperationTimeoutError(
            "the deadline passed", applied="no" if connecting else "unknown", retryable=True
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


def silent(host: str, port: int) -> DatabaseError:
    """One of several hosts has not answered in its share of the time."""
    return _disconnected(f"{host}:{port} does not answer", connecting=True)


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
    "25006": "it is a standby, or was made one",
}
_CONFLICTS = {"40", "55P03"}
# While an index is built anew concurrently, ON CONFLICT may see two of it or none.
_PASSING = {"53", "58", "23505", "42P10"}
_DENIED = {"28", "42501"}


def _of_the_server(code: str, said: str, *, connecting: bool) -> DatabaseError:
    def of(codes: Collection[str]) -> bool:
        return code in codes or code[:2] in codes

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
    if of(_DENIED):
        return AccessDeniedError(
            f"PostgreSQL refused access: {said}; check the role and what it is granted",
            applied="no",
            retryable=False,
        )
    return RejectedError(
        f"PostgreSQL refused the statement: {said} ({code})", applied="no", retryable=of(_PASSING)
    )


# What stands before an @ in a URL, or in what was meant for one: a user and a password, which need
# not be encoded as they should. Then password=… in a query or a keyword string.
_PASSWORD = re.compile(
    r"""(://[^:\s]*:)(?:\S*|(?!\d+\s)[^/\n]*)(?=@)"""
    r"""|(^[^:\s]*:(?!//))\S*(?=@)"""
    r"""|(password\s*=\s*)(?:'(?:[^'\\]|\\.)*'?|(?:[^&\s\\]|\\.)+)"""
)


def without_password(text: str) -> str:
    """``text`` with the password of every DSN in it replaced by ``***``."""
    return _PASSWORD.sub(lambda found: f"{found[found.lastindex or 0]}***", text)
