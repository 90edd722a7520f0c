"""Translating the driver's errors into ours, without passwords and without the content of rows."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg.driver.error_table import our_error
from hephaestus_pg.dsn.masking import without_password
from hephaestus_pg.errors import (
    ConnectionLostError,
    DatabaseError,
    RejectedError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpg import Connection
    from asyncpg.pool import PoolConnectionProxy

    AnyConnection = Connection[Any] | PoolConnectionProxy[Any]

DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # TimeoutError too
)
"""Everything that asyncpg raises; the second and third are no subclasses of the first."""


@contextmanager
def translated_errors(
    *, connecting: bool = False, connection: AnyConnection | None = None
) -> Iterator[None]:
    """Raises the driver's errors from the block as ours, with the driver's as their cause."""
    try:
        yield
    except DRIVER_ERRORS as error:
        if isinstance(error, DatabaseError):
            raise
        raise translate(error, connecting=connecting, connection=connection) from error


def translate(
    error: Exception, *, connecting: bool = False, connection: AnyConnection | None = None
) -> DatabaseError:
    """Translates one of :data:`DRIVER_ERRORS`, and removes from it what must not be shown.

    ``connecting`` says that nothing has been sent, so that nothing can have been applied.
    ``connection`` is the one that the error came from, if any.
    """
    hide_values(error)
    missing = _missing(error)
    ours = our_error(error, connecting=connecting)
    _hide_rows(error)
    # The column of an index that is exchanged for another comes and goes.
    if isinstance(ours, RejectedError) and "hephaestus_pg_initial" not in missing:
        ours.missing = missing
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError) and _is_primary(connection):
        refused = RejectedError(
            f"this session may only read, though the server is no standby: {error.args[0]}; "
            "default_transaction_read_only is on for the database, the role, the DSN or the "
            "server, which some hosts do where the disk is full: free it, or ALTER … RESET "
            "default_transaction_read_only",
            applied="no",
            retryable=False,
        )
        refused.sqlstate = ours.sqlstate
        return refused
    return ours


def should_reset_pool(error: Exception) -> bool:
    """Returns ``True`` if the pool's other connections are likely to be as useless as this one.

    Where one connection is dead or leads to a standby, the others mostly are and do. But where the
    server has none to spare, the present ones are all that there will be.
    """
    if isinstance(error.__cause__ or error, asyncpg.TooManyConnectionsError):
        return False
    if isinstance(error, DRIVER_ERRORS) and not isinstance(error, (OSError, DatabaseError)):
        error = our_error(error, connecting=False)
    return isinstance(error, (ConnectionLostError, UnavailableError))


def _missing(error: Exception) -> str:
    """Returns the server's message if a statement of ours met no table or column, else none."""
    if isinstance(error, (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)) and not (
        error.context or error.internal_query  # a trigger's error has a context
    ):
        return str(error.args[0])
    return ""


# The message about an argument that the driver cannot encode.
_QUOTED = re.compile(r"(invalid input for query argument [^:]*): .* \(", re.DOTALL)


def hide_values(error: Exception) -> None:
    """Removes from the driver's message a password, and an argument that it quotes."""
    if not isinstance(error, OSError) and error.args:
        error.args = (without_password(_QUOTED.sub(r"\1 (", str(error.args[0]))), *error.args[1:])


def _hide_rows(error: Exception) -> None:
    if isinstance(error, asyncpg.PostgresError):
        error.detail = error.context = error.internal_query = None  # the server quotes rows there


def _is_primary(connection: AnyConnection | None) -> bool:
    """Returns ``True`` if the server says it is a primary whose sessions only read by default.

    Through a pooler it may say so for another server, or not at all.
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
