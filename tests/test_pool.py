"""The driver's errors as ours, all of them, and the ways to a server."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from hephaestus_pg import (
    AccessDeniedError,
    AsyncStorage,
    ConcurrentUseError,
    ConflictError,
    ConnectionLostError,
    DatabaseError,
    Instance,
    InvalidValueError,
    Names,
    OperationTimeoutError,
    RejectedError,
    Status,
    UnavailableError,
    driver_errors,
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

    with (
        pytest.raises(DatabaseError) as caught,
        driver_errors.translated_errors(connecting=connecting),
    ):
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
    ours = driver_errors.translated(error)

    assert type(ours) is expected
    assert (ours.applied, ours.retryable) == (applied, retryable)


def test_nothing_has_been_applied_by_who_could_not_connect() -> None:
    for error in (ConnectionRefusedError("no"), asyncpg.AdminShutdownError("bye"), TimeoutError()):
        assert driver_errors.translated(error, connecting=True).applied == "no"


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
        ("postgresql://user@tenant:secret@h:5432/db", "postgresql://user@tenant:***@h:5432/db"),
        ("postgresql://us/er:secret@h/db", "postgresql://us/er:***@h/db"),
        ("postgresql://u:se/cr?et@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:a secret@h/db", "postgresql://u:***@h/db"),
        ("u:secret@h/db", "u:***@h/db"),
        ("host=h password='a secret' user=u", "host=h password=*** user=u"),
        (r"password='a\' secret' user=u", "password=*** user=u"),
        (r"password=a\ secret user=u", "password=*** user=u"),
        ("password='a secret", "password=***"),
        ("postgresql://h:5432/db is silent: ask a@b", "postgresql://h:5432/db is silent: ask a@b"),
        ("postgresql://h:5432 is silent: ask a@b", "postgresql://h:5432 is silent: ask a@b"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("error: ask a@b", "error: ask a@b"),
        ("no password here", "no password here"),
    ),
)
def test_a_password_is_never_shown(text: str, shown: str) -> None:
    assert driver_errors.without_password(text) == shown


@pytest.mark.parametrize("batching", (True, False))
async def test_what_a_state_holds_is_in_no_message_log_or_traceback(
    dsn: str, migrated: str, pool: Any, batching: bool, caplog: pytest.LogCaptureFixture
) -> None:
    held = uuid4().hex[:12]  # the server quotes only the beginning of a state
    failed = replace(Instance.new("W", {"s": held}, id="x"), status=Status.FAILED)
    await pool.execute(f"ALTER TABLE {migrated}.workflow_instances ADD CHECK (status <> 'failed')")
    async with AsyncStorage.start(
        dsn, name=migrated, schema=migrated, references=Names(), batching=batching
    ) as storage:

        async def in_transaction() -> None:
            async with storage.transaction() as transaction:
                await transaction.put(failed)

        for write in (storage.put(failed), storage.put_many([failed]), in_transaction()):
            with pytest.raises(RejectedError, match="check constraint") as caught:
                await write
            assert held not in "".join(traceback.format_exception(caught.value))
    assert held not in caplog.text


async def test_what_cannot_be_encoded_is_not_shown_either(pool: Any) -> None:
    held = f"({uuid4().hex} (x"
    with (
        pytest.raises(RejectedError, match=r"argument \$1 \('str' object") as caught,
        driver_errors.translated_errors(),
    ):
        await pool.fetchval("SELECT $1::integer", held)
    assert held[1:9] not in "".join(traceback.format_exception(caught.value))


async def test_a_changed_type_is_no_error_of_put_many(dsn: str, migrated: str, pool: Any) -> None:
    async with AsyncStorage.start(
        dsn, name=migrated, schema=migrated, references=Names(), max_size=1
    ) as storage:
        await storage.put_many([Instance("x", "W")])
        await storage.delete_many(["y"])
        await pool.execute(
            f"ALTER TABLE {migrated}.workflow_instances ALTER COLUMN workflow_version TYPE bigint,"
            " ALTER COLUMN id TYPE text"
        )

        [stored] = await storage.put_many([Instance("x", "W")])
        assert stored.revision == 2
        assert await storage.delete_many(["x"]) == {"x"}


async def test_a_closed_pool_is_said_at_once(pool: Any, migrated: str) -> None:
    async with AsyncStorage.start(
        pool=pool, name=migrated, schema=migrated, references=Names()
    ) as storage:
        await pool.close()
        async with asyncio.timeout(2):
            with pytest.raises(UnavailableError, match="the pool is closed") as caught:
                await storage.get("x")
            with pytest.raises(UnavailableError, match="the pool is closed"):
                async with storage.transaction():
                    pass
        assert not caught.value.retryable


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
