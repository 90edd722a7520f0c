"""Each of the driver's errors becomes one of ours."""

from __future__ import annotations

import inspect

import asyncpg
import pytest

from hephaestus_pg import (
    AccessDeniedError,
    ConcurrentUseError,
    ConflictError,
    ConnectionLostError,
    DatabaseError,
    OperationTimeoutError,
    RejectedError,
    UnavailableError,
)
from hephaestus_pg.driver import errors

pytestmark = pytest.mark.quick

DRIVERS = sorted(
    {
        cls
        for _, cls in inspect.getmembers(asyncpg.exceptions, inspect.isclass)
        if issubclass(cls, BaseException) and not issubclass(cls, Warning)
    },
    key=lambda cls: cls.__name__,
)


@pytest.mark.parametrize("cls", DRIVERS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("connecting", (True, False))
def test_every_error_of_the_driver_becomes_one_of_ours(cls: type, connecting: bool) -> None:
    error = cls("something happened")

    with (
        pytest.raises(DatabaseError) as caught,
        errors.translated_errors(connecting=connecting),
    ):
        raise error

    ours = caught.value
    assert ours.__cause__ is error
    assert "something happened" in str(ours) or isinstance(ours, ConcurrentUseError)
    assert ours.applied in {"no", "unknown"}
    assert ours.applied == "no" or not connecting


def violation(key: str) -> asyncpg.UniqueViolationError:
    error = asyncpg.UniqueViolationError("index")
    error.detail = f"Schlüssel »{key}« existiert bereits."
    return error


@pytest.mark.parametrize(
    ("error", "expected", "applied", "retryable"),
    (
        (ConnectionResetError("reset"), ConnectionLostError, "unknown", True),
        (OSError(5, "io"), ConnectionLostError, "unknown", True),
        (TimeoutError(), OperationTimeoutError, "unknown", True),
        (
            asyncpg.InternalClientError("cannot switch to state 2"),
            ConnectionLostError,
            "unknown",
            True,
        ),
        (asyncpg.ConnectionDoesNotExistError("closed"), ConnectionLostError, "unknown", True),
        (asyncpg.AdminShutdownError("bye"), ConnectionLostError, "unknown", True),
        (asyncpg.CrashShutdownError("bye"), ConnectionLostError, "unknown", True),
        (asyncpg.InterfaceError("connection is closed"), ConnectionLostError, "no", True),
        (asyncpg.InterfaceError("pool is closing"), UnavailableError, "no", False),
        (asyncpg.InterfaceError("pool is closed"), UnavailableError, "no", False),
        (asyncpg.InterfaceError("the server expects 2 arguments"), RejectedError, "no", False),
        (asyncpg.OutdatedSchemaCacheError("x"), ConflictError, "unknown", True),
        (asyncpg.InvalidCachedStatementError("x"), ConflictError, "no", True),
        (asyncpg.CannotConnectNowError("starting up"), UnavailableError, "no", True),
        (asyncpg.TooManyConnectionsError("full"), UnavailableError, "no", True),
        (asyncpg.ReadOnlySQLTransactionError("standby"), UnavailableError, "no", True),
        (asyncpg.QueryCanceledError("statement timeout"), OperationTimeoutError, "no", True),
        (asyncpg.DeadlockDetectedError("deadlock"), ConflictError, "no", True),
        (asyncpg.SerializationError("serialize"), ConflictError, "no", True),
        (asyncpg.StatementCompletionUnknownError("?"), ConflictError, "unknown", True),
        (asyncpg.LockNotAvailableError("lock"), ConflictError, "no", True),
        (violation("(id)=(a)"), RejectedError, "no", True),
        (violation("(number)=(1)"), RejectedError, "no", False),
        (asyncpg.InvalidSQLStatementNameError("forgotten"), RejectedError, "no", False),
        (asyncpg.InFailedSQLTransactionError("aborted"), RejectedError, "no", False),
        (asyncpg.InvalidColumnReferenceError("index"), RejectedError, "no", True),
        (asyncpg.DiskFullError("disk"), RejectedError, "no", True),
        (asyncpg.InsufficientPrivilegeError("role"), AccessDeniedError, "no", False),
        (asyncpg.InvalidPasswordError("role"), AccessDeniedError, "no", False),
        (asyncpg.UndefinedTableError("table"), RejectedError, "no", False),
        (asyncpg.CheckViolationError("check"), RejectedError, "no", False),
        (asyncpg.ProgramLimitExceededError("limit"), RejectedError, "no", False),
        *(
            (asyncpg.InternalServerError(said), ConnectionLostError, "unknown", True)
            for said in (
                "postmaster was shut down, exiting",
                "could not commit transaction for shard 102009 on at least one active node",
            )
        ),
    ),
    ids=repr,
)
def test_each_kind_says_whether_it_was_applied_and_may_be_retried(
    error: Exception, expected: type, applied: str, retryable: bool
) -> None:
    ours = errors.translate(error)

    assert type(ours) is expected
    assert (ours.applied, ours.retryable) == (applied, retryable)


@pytest.mark.parametrize(
    ("error", "sqlstate"),
    (
        (asyncpg.DeadlockDetectedError("deadlock"), "40P01"),
        (asyncpg.TooManyConnectionsError("full"), "53300"),
        (violation("(id)=(a)"), "23505"),
        (ConnectionResetError("reset"), None),
        (TimeoutError(), None),
        (asyncpg.InterfaceError("connection is closed"), None),
    ),
    ids=repr,
)
def test_an_error_carries_the_servers_code(error: Exception, sqlstate: str | None) -> None:
    assert errors.translate(error).sqlstate == sqlstate


def test_a_denial_carries_the_servers_advice() -> None:
    error = asyncpg.InsufficientPrivilegeError("row-level security")
    error.hint = "use NO FORCE"
    assert "row-level security (use NO FORCE); check the role" in str(errors.translate(error))


@pytest.mark.parametrize(
    "kind", (asyncpg.DependentObjectsStillExistError, asyncpg.FeatureNotSupportedError)
)
def test_what_depends_on_an_object_is_named(kind: type[asyncpg.PostgresError]) -> None:
    error = kind("cannot drop it")
    error.detail = "view seen depends on it"
    assert "cannot drop it: view seen depends on it" in str(errors.translate(error))
    raised = kind("no")
    raised.detail, raised.server_source_function = "row (1)", "exec_stmt_raise"
    assert "row (1)" not in str(errors.translate(raised))


def test_an_error_while_connecting_says_nothing_was_applied() -> None:
    for error in (ConnectionRefusedError("no"), asyncpg.AdminShutdownError("bye"), TimeoutError()):
        assert errors.translate(error, connecting=True).applied == "no"
