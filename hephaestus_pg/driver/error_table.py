"""The driver's errors and what each becomes, by SQLSTATE or by class."""

from __future__ import annotations

import re
from typing import NamedTuple

import asyncpg

from hephaestus_pg.dsn.masking import without_password
from hephaestus_pg.errors import (
    AccessDeniedError,
    Applied,
    ConcurrentUseError,
    ConflictError,
    ConnectionLostError,
    DatabaseError,
    OperationTimeoutError,
    RejectedError,
    UnavailableError,
)


class Meaning(NamedTuple):
    """One of our errors: ``message`` is a template for the driver's message and the SQLSTATE."""

    kind: type[DatabaseError]
    message: str
    applied: Applied = "no"
    retryable: bool = False


_NO_CONNECTION = Meaning(
    UnavailableError,
    "no connection to PostgreSQL: {said}; check the DSN and that the server runs",
    retryable=True,
)
_LOST = Meaning(
    ConnectionLostError,
    "the connection to PostgreSQL broke: {said}; the statement may have had its effect: read "
    "before you write",
    applied="unknown",
    retryable=True,
)
_LOST_BEFORE_SENDING = Meaning(
    ConnectionLostError,
    "the connection to PostgreSQL broke: {said}; the statement had no effect",
    retryable=True,
)
_DENIED = Meaning(
    AccessDeniedError, "PostgreSQL refused access: {said}; check the role and what it is granted"
)
_CONFLICT = Meaning(
    ConflictError, "another transaction was in the way: {said}; do it again", retryable=True
)
_FORGOTTEN = Meaning(
    RejectedError,
    "PostgreSQL refused the statement: {said} ({code}); a pooler, such as PgBouncer, gave the "
    "session to somebody else: start with pgbouncer=True, or --pgbouncer, or make your own pool "
    "with statement_cache_size=0",
)
_REJECTED = Meaning(RejectedError, "PostgreSQL refused the statement: {said} ({code})")
_TRANSIENT = _REJECTED._replace(retryable=True)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
# A code of five characters takes precedence over its class of two; any other is _REJECTED.
_BY_SQLSTATE: dict[str, Meaning] = {
    "08": _LOST,  # connection exceptions
    # While the index over ids is rebuilt concurrently, ON CONFLICT may see two of them.
    "23505": _TRANSIENT,  # unique_violation
    "25006": Meaning(  # read_only_sql_transaction
        UnavailableError,
        "PostgreSQL cannot serve this, it is a standby, or was made one, or the transaction is "
        "read-only: {said}",
        retryable=True,
    ),
    "25P02": Meaning(  # in_failed_sql_transaction
        RejectedError,
        "a statement of this transaction has failed, so that nothing of it can be kept: let its "
        "error leave the transaction's block, or give a statement that may fail a savepoint, "
        "`async with tx.connection.transaction()` ({said})",
    ),
    "26000": _FORGOTTEN,  # invalid_sql_statement_name: prepared in another session
    "28": _DENIED,  # invalid authorization
    "40": _CONFLICT,  # transaction rollbacks: serialization_failure, deadlock_detected, …
    "40003": _CONFLICT._replace(applied="unknown"),  # statement_completion_unknown
    "42501": _DENIED,  # insufficient_privilege
    "42P05": _FORGOTTEN,  # duplicate_prepared_statement: another session's, of the same name
    "42P10": _TRANSIENT,  # invalid_column_reference: as at 23505, ON CONFLICT may see no index
    "53": _TRANSIENT,  # insufficient resources: disk_full, out_of_memory, …
    "53300": Meaning(  # too_many_connections
        UnavailableError,
        "PostgreSQL cannot serve this, it has no connection to spare: {said}",
        retryable=True,
    ),
    "55P03": _CONFLICT,  # lock_not_available
    "57014": Meaning(  # query_canceled
        OperationTimeoutError, "PostgreSQL ended the statement: {said}", retryable=True
    ),
    "57P01": _LOST,  # admin_shutdown
    "57P02": _LOST,  # crash_shutdown
    "57P03": Meaning(  # cannot_connect_now
        UnavailableError,
        "PostgreSQL cannot serve this, it is starting or shutting down: {said}",
        retryable=True,
    ),
    "57P05": _LOST,  # idle_session_timeout
    "58": _TRANSIENT,  # system errors
}

# Errors of the driver's own, which have no SQLSTATE, or one that says less. Order matters: the
# first class that fits is taken; any other error is _LOST.
_BY_CLASS: tuple[tuple[type[Exception], Meaning], ...] = (
    # The driver noticed before it sent the statement, and has dropped its plans.
    (
        asyncpg.InvalidCachedStatementError,
        Meaning(ConflictError, "the schema changed: {said}", retryable=True),
    ),
    # The driver noticed in the answer, so the statement was done.
    (
        asyncpg.OutdatedSchemaCacheError,
        Meaning(ConflictError, "the schema changed: {said}", applied="unknown", retryable=True),
    ),
)

# The driver has one class for whatever it refuses to do; its message says which. The first pattern
# that is found in it counts.
_BY_INTERFACE_MESSAGE: tuple[tuple[str, Meaning], ...] = (
    (
        r"^pool is clos",
        Meaning(UnavailableError, "the pool is closed; start a storage on one that is open"),
    ),
    (r"clos(ed|ing)|released", _LOST_BEFORE_SENDING),
    (r"", Meaning(RejectedError, "the driver refused the call: {said}")),
)

# dependent_objects_still_exist, feature_not_supported: the detail names views and such, and no row.
_SAYS_WHAT_DEPENDS = {"2BP01", "0A000"}

# Citus has no SQLSTATE for it: the second where a worker went away while it was to commit.
_LOST_WORKER = r"postmaster was shut down|^could not commit transaction for shard"

_POOL_EXHAUSTED = (
    "no connection of the pool came free or could be opened; within a transaction use its own "
    "verbs, which need no other, or give the pool a larger max_size"
)

# The detail of a unique violation, in whatever language: Key (id)=(…) already exists.
_VIOLATES_ID = re.compile(r"[^(]*\(id\)=\(")


def message_of(error: Exception) -> str:
    """Returns the driver's message, without a password."""
    text = str(error) if isinstance(error, OSError) else str(error.args[0]) if error.args else ""
    return without_password(text or type(error).__name__)


def _dependents(error: Exception, code: str | None) -> str:
    if code not in _SAYS_WHAT_DEPENDS or not isinstance(error, asyncpg.PostgresError):
        return ""
    if error.server_source_function == "exec_stmt_raise":  # somebody's own, with whatever detail
        return ""
    return f": {error.detail}" if error.detail else ""


def our_error(error: Exception, *, connecting: bool) -> DatabaseError:
    """Makes our error for the driver's; while ``connecting``, nothing can have been applied."""
    said, code = message_of(error), getattr(error, "sqlstate", None)
    if code is None and isinstance(error, TimeoutError):
        return _timeout(error, connecting=connecting)
    if isinstance(error, asyncpg.InterfaceError) and "another operation" in said:
        return ConcurrentUseError()
    meaning = _meaning(error, said, code)
    if meaning is _DENIED and (hint := getattr(error, "hint", None)):
        said += f" ({hint})"
    said += _dependents(error, code)
    if connecting and meaning.kind is ConnectionLostError:
        meaning = _NO_CONNECTION
    ours = meaning.kind(
        meaning.message.format(said=said, code=code),
        applied="no" if connecting else meaning.applied,
        retryable=meaning.retryable,
    )
    ours.sqlstate = code
    return ours


def _meaning(error: Exception, said: str, code: str | None) -> Meaning:
    for kind, meaning in _BY_CLASS:
        if isinstance(error, kind):
            return meaning
    if code == "08P01" and "prepared statement" in said:  # in PgBouncer's words
        return _FORGOTTEN
    if code == "XX000" and re.search(_LOST_WORKER, said):
        return _LOST
    if code == "23505" and not _VIOLATES_ID.match(getattr(error, "detail", None) or ""):
        return _REJECTED  # an index of the user's own: the other row will stay
    if code is not None:
        return _BY_SQLSTATE.get(code) or _BY_SQLSTATE.get(code[:2]) or _REJECTED
    if isinstance(error, asyncpg.InterfaceError):
        return next(each for text, each in _BY_INTERFACE_MESSAGE if re.search(text, said))
    return _LOST


def _timeout(error: TimeoutError, *, connecting: bool) -> OperationTimeoutError:
    # A deadline passes by a cancellation, which carries a note on the host that was waited for.
    notes = getattr(error.__cause__, "__notes__", [_POOL_EXHAUSTED] if connecting else [])
    return OperationTimeoutError(
        ": ".join(["the deadline passed", *notes]),
        applied="no" if connecting else "unknown",
        retryable=True,
    )
