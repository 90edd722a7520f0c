"""The driver's errors as ours, all of them, and the ways to a server."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AccessDeniedError,
    AsyncStorage,
    ConcurrentUseError,
    ConflictError,
    ConnectionLostError,
    DatabaseError,
    InvalidValueError,
    Names,
    OperationTimeoutError,
    RejectedError,
    UnavailableError,
    pool,
    registry,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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

    with pytest.raises(DatabaseError) as caught, pool.translated_errors(connecting=connecting):
        raise error

    ours = caught.value
    assert ours.__cause__ is error
    assert "something happened" in str(ours) or isinstance(ours, ConcurrentUseError)
    assert ours.applied in {"no", "unknown"}
    assert ours.applied == "no" or not connecting


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
        (asyncpg.InterfaceError("pool is closing"), ConnectionLostError, "no", True),
        (asyncpg.InterfaceError("the server expects 2 arguments"), RejectedError, "no", False),
        (asyncpg.OutdatedSchemaCacheError("x"), ConflictError, "no", True),
        (asyncpg.CannotConnectNowError("starting up"), UnavailableError, "no", True),
        (asyncpg.TooManyConnectionsError("full"), UnavailableError, "no", True),
        (asyncpg.ReadOnlySQLTransactionError("standby"), UnavailableError, "no", True),
        (asyncpg.QueryCanceledError("statement timeout"), OperationTimeoutError, "no", True),
        (asyncpg.DeadlockDetectedError("deadlock"), ConflictError, "no", True),
        (asyncpg.SerializationError("serialize"), ConflictError, "no", True),
        (asyncpg.StatementCompletionUnknownError("?"), ConflictError, "unknown", True),
        (asyncpg.LockNotAvailableError("lock"), ConflictError, "no", True),
        (asyncpg.UniqueViolationError("index"), RejectedError, "no", True),
        (asyncpg.InvalidColumnReferenceError("index"), RejectedError, "no", True),
        (asyncpg.DiskFullError("disk"), RejectedError, "no", True),
        (asyncpg.InsufficientPrivilegeError("role"), AccessDeniedError, "no", False),
        (asyncpg.InvalidPasswordError("role"), AccessDeniedError, "no", False),
        (asyncpg.UndefinedTableError("table"), RejectedError, "no", False),
        (asyncpg.CheckViolationError("check"), RejectedError, "no", False),
        (asyncpg.ProgramLimitExceededError("limit"), RejectedError, "no", False),
    ),
    ids=repr,
)
def test_each_kind_says_whether_it_was_applied_and_may_be_retried(
    error: Exception, expected: type, applied: str, retryable: bool
) -> None:
    ours = pool.translated(error)

    assert type(ours) is expected
    assert (ours.applied, ours.retryable) == (applied, retryable)


def test_nothing_has_been_applied_by_who_could_not_connect() -> None:
    for error in (ConnectionRefusedError("no"), asyncpg.AdminShutdownError("bye"), TimeoutError()):
        assert pool.translated(error, connecting=True).applied == "no"


@pytest.mark.parametrize(
    ("text", "shown"),
    (
        ("postgresql://u:secret@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:se:cr@et@h/db", "postgresql://u:***@h/db"),
        (
            "postgresql://h/db?user=u&password=secret&x=1",
            "postgresql://h/db?user=u&password=***&x=1",
        ),
        (
            "connect postgresql://u:secret@a,b:1/db failed",
            "connect postgresql://u:***@a,b:1/db failed",
        ),
        ("no password here", "no password here"),
    ),
)
def test_a_password_is_never_shown(text: str, shown: str) -> None:
    assert pool.without_password(text) == shown


async def test_the_rows_content_is_in_no_message(storage: AsyncStorage, pool: Any) -> None:
    from hephaestus_pg import Instance

    await pool.execute(
        f"ALTER TABLE {storage.schema}.workflow_instances ADD CHECK (status <> 'failed')"
    )
    with pytest.raises(RejectedError) as caught:
        await storage.put(Instance("x", "W", status="failed", runtime_metadata={"s": "secret"}))  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


class TestHosts:
    @asynccontextmanager
    async def silent(self) -> AsyncIterator[int]:
        """A port that accepts and never answers."""
        held: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]
            for writer in held:
                writer.close()

    async def test_a_silent_or_dead_first_host_does_not_hide_the_second(
        self, dsn: str, migrated: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pool, "HOST_SECONDS", 0.3)
        user, _, rest = dsn.partition("@")
        async with self.silent() as port:
            several = f"{user}@127.0.0.1:{port},127.0.0.1:1,{rest}"
            async with AsyncStorage.start(
                several, name="several hosts", schema=migrated, references=Names()
            ) as storage:
                assert await storage.get("x") is None

    async def test_a_silent_host_has_until_the_deadline(self) -> None:
        async with self.silent() as port:
            with pytest.raises(OperationTimeoutError) as caught:
                await AsyncStorage.start(
                    f"postgresql://u@127.0.0.1:{port}/db", name="silence", timeout=0.3
                )
        assert caught.value.applied == "no"
        assert "silence" not in registry.names()

    async def test_no_host_at_all_is_unavailable(self) -> None:
        with pytest.raises(UnavailableError):
            await AsyncStorage.start("postgresql://u@127.0.0.1:1,127.0.0.1:2/db", name="nowhere")
        assert "nowhere" not in registry.names()

    async def test_a_standby_is_not_taken_for_a_primary(self, dsn: str, migrated: str) -> None:
        with pytest.raises((UnavailableError, DatabaseError)):
            await AsyncStorage.start(
                f"{dsn}?target_session_attrs=standby", name="standby", schema=migrated
            )
        async with AsyncStorage.start(
            f"{dsn}?target_session_attrs=read-write", name="primary", schema=migrated
        ) as storage:
            assert await storage.get("x") is None


@pytest.mark.parametrize(
    "dsn_given", ("postgresql://u:secret@[bad/db", "postgresql://u:secret@h:port/db")
)
async def test_a_dsn_that_cannot_be_read_is_refused_without_its_password(dsn_given: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        await AsyncStorage.start(dsn_given, name="malformed")
    assert "secret" not in str(caught.value)
    assert "malformed" not in registry.names()
