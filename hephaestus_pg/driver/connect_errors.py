"""The errors of connecting: why there is no connection, and what to do about it."""

from __future__ import annotations

import re
import socket
import ssl
from typing import TYPE_CHECKING

import asyncpg

from hephaestus_pg.driver.error_table import message_of
from hephaestus_pg.driver.errors import translate
from hephaestus_pg.errors import (
    AccessDeniedError,
    OperationTimeoutError,
    RejectedError,
    UnavailableError,
)

if TYPE_CHECKING:
    from hephaestus_pg.errors import DatabaseError


def host_timeout_error(place: str, *, final: bool) -> DatabaseError:
    """Makes the error for a host that did not answer in time.

    ``final`` says that this was all of the caller's time, so that there is none for another try.
    """
    kind = OperationTimeoutError if final else UnavailableError
    said = "the deadline passed" if final else "no connection to PostgreSQL"
    return kind(f"{said}: {no_answer(place)}", applied="no", retryable=True)


def no_answer(place: str) -> str:
    """Returns the message about a host that does not answer."""
    return (
        f"{place} does not answer; check the DSN's host and port, the firewall between, and that "
        "it is a PostgreSQL"
    )


def connect_error(error: Exception, place: str, *, named_database: bool) -> DatabaseError:
    """Makes our error for the driver's, which was raised while it connected to ``place``.

    ``named_database`` is false where the server assumed the database of the user's name.
    """
    ours = translate(error, connecting=True)
    said, code = _plain(message_of(error)), ours.sqlstate
    kind, retryable, advice = type(ours), ours.retryable, _advice(error, said, code)
    for pattern, pooler_kind, pooler_advice in _BY_POOLER_MESSAGE if code == "08P01" else ():
        if re.search(pattern, said):
            kind, retryable, advice = pooler_kind, False, pooler_advice
            break
    if code == "3D000" and not named_database:
        advice += "; none is named in the DSN, so that it is the one of the user's name"
    found = kind(
        f"no connection to PostgreSQL at {place}: {said}; {advice}",
        applied="no",
        retryable=retryable,
    )
    found.sqlstate = code
    return found


def _plain(said: str) -> str:
    """Returns the driver's message; that on the wrong kind of server is put as libpq puts it."""
    found = re.search(r"None of the hosts match.*'([\w-]+)'", said)
    return f"it is not {found[1]}, which target_session_attrs asks for" if found else said


# PgBouncer has one code for everything; its message says which error it is.
_BY_POOLER_MESSAGE: tuple[tuple[str, type[DatabaseError], str], ...] = (
    (
        "unsupported startup parameter",
        RejectedError,
        "this is a pooler, such as PgBouncer: start with pgbouncer=True, or --pgbouncer",
    ),
    (
        "no such database|is disabled|config error",
        RejectedError,
        "name one that its configuration has under [databases]",
    ),
    (
        "no such user|auth|password",
        AccessDeniedError,
        "check the user and the password, and the pooler's list of users",
    ),
)

_ENCODED = "what is reserved in a password is percent-encoded in a DSN: @ is %40, / is %2F"

# These come before the SQLSTATE, since 28000 covers many of them.
_BY_MESSAGE: tuple[tuple[str, str], ...] = (
    (
        r"no pg_hba\.conf entry.*(no encryption|SSL off)",
        "let the server's pg_hba.conf have it in; if the server wants TLS, give sslmode=require",
    ),
    (r"no pg_hba\.conf entry", "let the server's pg_hba.conf have this user in from here"),
    (r"pg_hba\.conf rejects", "the server's pg_hba.conf shuts this user out from here"),
    (r"role \S+ does not exist", "check the user in the DSN, or CREATE ROLE … LOGIN"),
    (r"not permitted to log in", "ALTER ROLE … LOGIN lets it"),
    (
        r"(Peer|Ident) authentication failed",
        (
            "the server wants the system's user of that name: be that, or connect by host= and "
            "password"
        ),
    ),
    (
        r"Connect call failed",
        "nobody listens there: check the DSN's host and port, and that the server runs",
    ),
    (
        r"rejected SSL upgrade",
        (
            "it has no TLS, or is no PostgreSQL: check the DSN's host and port; where the network "
            "can be trusted, sslmode=disable does without"
        ),
    ),
    (
        r"error response during SSL exchange|connection_lost\(\)|closed in the middle|reset by",
        (
            "it hung up: check that the DSN's host and port are those of a PostgreSQL, and what "
            "its log says"
        ),
    ),
    (
        r"authentication method|authentication methods",
        "have pg_hba.conf ask for scram-sha-256",
    ),
    (r"not currently accepting connections", "ALTER DATABASE … ALLOW_CONNECTIONS true"),
    (
        r"it is not (read-write|primary)",
        "it is a standby, or a primary with default_transaction_read_only=on",
    ),
    (r"it is not (standby|read-only)", "it is a primary"),
)
_BY_CODE = {
    "28P01": f"check the user and the password; {_ENCODED}",
    "28000": "check the user, and what the server's pg_hba.conf asks for",
    "3D000": "check the database's name in the DSN, or CREATE DATABASE",
    "42501": "the role lacks a right: GRANT CONNECT ON DATABASE, for one",
    "53300": "lower max_size, raise the server's max_connections or the limit of the role or "
    "database, or put PgBouncer in between",
    "57P03": "it is starting or shutting down: try again soon",
}
_CHECK = "check the DSN and that the server runs"


def _advice(error: Exception, said: str, code: str | None) -> str:
    for pattern, advice in _BY_MESSAGE:
        if re.search(pattern, said):
            return advice
    if code is not None:
        return _BY_CODE.get(code, _CHECK)
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            "the server's certificate must be vouched for by what sslrootcert holds, and be for "
            "the host's name in the DSN"
        )
    if isinstance(error, ssl.SSLError):
        return "TLS could not be agreed on: check sslmode, sslcert and the TLS versions"
    if isinstance(error, socket.gaierror):
        return "no host of that name is known: check the DSN's host, and that names are served"
    if isinstance(error, FileNotFoundError):
        return "there is no socket: check the folder in the DSN's host, and that the server runs"
    if isinstance(error, asyncpg.InterfaceError):
        return "the driver cannot do what the server, or the DSN, asks for"
    return _CHECK
