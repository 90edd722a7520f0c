"""The driver's errors as ours, all of them, and the ways to a server."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import anyio
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
    registry,
)
from hephaestus_pg.driver import connector, errors, pool
from hephaestus_pg.dsn import hosts
from hephaestus_pg.dsn.target import target
from hephaestus_pg.dsn.text import without_password
from tests.chaos.proxy import Proxy
from tests.support.lag import within

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
    ),
    ids=repr,
)
def test_each_kind_says_whether_it_was_applied_and_may_be_retried(
    error: Exception, expected: type, applied: str, retryable: bool
) -> None:
    ours = errors.translated(error)

    assert type(ours) is expected
    assert (ours.applied, ours.retryable) == (applied, retryable)


def test_where_there_is_no_connection_to_spare_those_that_there_are_stay() -> None:
    full = errors.translated(asyncpg.TooManyConnectionsError("full"))
    full.__cause__ = asyncpg.TooManyConnectionsError("full")
    assert not errors.is_lost(full)
    assert not errors.is_lost(asyncpg.TooManyConnectionsError("full"))
    assert errors.is_lost(asyncpg.CannotConnectNowError("starting up"))


def test_nothing_has_been_applied_by_who_could_not_connect() -> None:
    for error in (ConnectionRefusedError("no"), asyncpg.AdminShutdownError("bye"), TimeoutError()):
        assert errors.translated(error, connecting=True).applied == "no"


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
        ("psql 'postgresql://u:secret@h/db'", "psql 'postgresql://u:***@h/db'"),
        (
            "jdbc:postgresql://h/db?user=u&password=secret",
            "jdbc:postgresql://h/db?user=u&password=***",
        ),
        ("postgresql://h/db?sslpassword=a%20b&x=1", "postgresql://h/db?sslpassword=***&x=1"),
        (
            "postgresql://h/db?oauth_client_secret=secret",
            "postgresql://h/db?oauth_client_secret=***",
        ),
        ("postgresql://h/db?scram_client_key=secret", "postgresql://h/db?scram_client_key=***"),
        ("prisma://h/?api_key=secret", "prisma://h/?api_key=***"),
        ("PGPASSWORD=secret psql", "PGPASSWORD=*** psql"),
        ('{"username": "u", "password": "a secret"}', '{"username": "u", "password": ***}'),
        ("error: ask a@b", "error: ask a@b"),
        ("no password here", "no password here"),
    ),
)
def test_a_password_is_never_shown(text: str, shown: str) -> None:
    assert without_password(text) == shown


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
        errors.translated_errors(),
    ):
        await pool.fetchval("SELECT $1::integer", held)
    assert held[1:9] not in "".join(traceback.format_exception(caught.value))


async def test_a_changed_type_is_no_error_of_put_many(dsn: str, migrated: str, pool: Any) -> None:
    async with AsyncStorage.start(
        dsn, name=migrated, schema=migrated, references=Names(), max_size=1
    ) as storage:
        [first] = await storage.put_many([Instance("x", "W")])
        await storage.delete_many(["y"])
        await pool.execute(
            f"ALTER TABLE {migrated}.workflow_instances ALTER COLUMN workflow_version TYPE bigint,"
            " ALTER COLUMN id TYPE text"
        )

        [stored] = await storage.put_many([Instance("x", "W")])
        assert stored.revision == (first.revision or 0) + 1
        assert await storage.delete_many(["x"]) == {"x"}


async def test_a_closed_pool_is_said_at_once(pool: Any, migrated: str) -> None:
    async with AsyncStorage.start(
        pool=pool, name=migrated, schema=migrated, references=Names()
    ) as storage:
        await pool.close()
        async with within(2):
            with pytest.raises(UnavailableError, match="the pool is closed") as caught:
                await storage.get("x")
            with pytest.raises(UnavailableError, match="the pool is closed"):
                async with storage.transaction():
                    pass
        assert not caught.value.retryable


async def test_a_server_that_cannot_look_for_its_client_is_not_asked_to(
    dsn: str, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_CHECK_INTERVAL", "such as Windows refuses")
    async with (
        AsyncStorage.start(dsn, name=migrated, schema=migrated) as storage,
        storage.transaction() as transaction,
    ):
        shown = transaction.connection
        assert await shown.fetchval("SHOW client_connection_check_interval") == "0"
        assert await shown.fetchval("SHOW statement_timeout") == "27001ms"


PARSED = vars(asyncpg.connect_utils)["_parse_connect_dsn_and_args"]


class Silence:
    """Whom a silent server keeps waiting."""

    port = 0

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []

    def accept(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)


class TestHosts:
    @asynccontextmanager
    async def silent(self) -> AsyncIterator[Silence]:
        """A port that accepts and never answers."""
        held = Silence()
        server = await asyncio.start_server(held.accept, "127.0.0.1", 0)
        async with server:
            held.port = server.sockets[0].getsockname()[1]
            yield held
            for writer in held.writers:
                writer.close()

    @pytest.fixture
    def thirds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of three hosts each has a third of the time, of two a half, however long that is."""
        monkeypatch.setattr(connector, "HOST_SECONDS", 600)

    @pytest.mark.usefixtures("thirds")
    async def test_a_silent_or_dead_first_host_does_not_hide_the_second(
        self, dsn: str, migrated: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        user, _, rest = dsn.partition("@")
        async with self.silent() as silence, within(9):
            several = f"{user}@127.0.0.1:{silence.port},127.0.0.1:1,{rest}"
            async with AsyncStorage.start(
                several, name="several hosts", schema=migrated, timeout=30, max_size=2
            ) as storage:
                # The one that answered is asked first from now on.
                monkeypatch.setattr(hosts, "HEAD_START", 600)
                asked = len(silence.writers)
                async with storage.transaction(), storage.transaction():
                    pass
                assert len(silence.writers) == asked == 1

    @pytest.mark.usefixtures("thirds")
    @pytest.mark.parametrize("where", ("query", "options", "environment"))
    async def test_hosts_may_stand_wherever_asyncpg_takes_them(
        self, dsn: str, migrated: str, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        url = urlsplit(dsn)
        user = url.netloc.rpartition("@")[0]
        async with self.silent() as silence, within(9):
            hosts, ports = ["127.0.0.1", url.hostname or ""], [silence.port, url.port or 5432]
            named, numbered = ",".join(hosts), ",".join(map(str, ports))
            options: dict[str, Any] = {}
            given = url._replace(netloc=f"{user}@")
            match where:
                case "query":
                    given = given._replace(query=f"host={named}&port={numbered}")
                case "options":
                    options = {"host": hosts, "port": ports}
                case "environment":
                    monkeypatch.setenv("PGHOST", named)
                    monkeypatch.setenv("PGPORT", numbered)
            async with AsyncStorage.start(
                given.geturl(), name=where, schema=migrated, timeout=30, **options
            ) as storage:
                assert await storage.count() == 0
            assert len(silence.writers) == 1

    @pytest.mark.usefixtures("thirds")
    async def test_a_call_with_little_time_finds_the_host_that_is_left(
        self, dsn: str, migrated: str
    ) -> None:
        url = urlsplit(dsn)
        user = url.netloc.rpartition("@")[0]
        async with Proxy(lambda: url.port or 5432) as first, Proxy(lambda: url.port or 5432) as two:
            several = url._replace(netloc=f"{user}@127.0.0.1:{first.port},127.0.0.1:{two.port}")
            async with AsyncStorage.start(
                several.geturl(), name="failover", schema=migrated, max_size=1, timeout=30
            ) as storage:
                first.lose()
                first.drop(first.paths)
                two.drop(two.paths)  # where the first was slow

                assert await storage.count(timeout=12) == 0
                assert two.paths

    async def test_a_wrong_user_is_not_hidden_by_another_hosts_silence(self, dsn: str) -> None:
        own = urlsplit(dsn).netloc.rpartition("@")[2]
        async with self.silent() as silence:
            for hosts in (f"{own},127.0.0.1:1", f"127.0.0.1:{silence.port},{own}"):
                for timeout in (1, 5, 25):
                    with pytest.raises(DatabaseError) as caught:
                        await AsyncStorage.start(
                            f"postgresql://nobody:x@{hosts}/db", timeout=timeout
                        )
                    if "nobody" in str(caught.value):  # there was time to hear it
                        break
                assert isinstance(caught.value, AccessDeniedError)
                assert caught.value.retryable  # the other one may come back

    async def test_a_wrong_user_at_each_host_is_final(self, dsn: str) -> None:
        own = urlsplit(dsn).netloc.rpartition("@")[2]
        with pytest.raises(AccessDeniedError) as caught:
            await AsyncStorage.start(f"postgresql://nobody:x@{own},{own}/db")
        assert not caught.value.retryable

    @pytest.mark.parametrize(
        ("dsn_given", "options", "environment", "found"),
        (
            ("postgresql://a,b:1/db", {}, {}, [("a", 5432), ("b", 1)]),
            ("postgresql://u:p@a:1,b:2/db", {}, {}, [("a", 1), ("b", 2)]),
            ("postgresql://u@[::1]:1,[::2]/db", {}, {}, [("::1", 1), ("::2", 5432)]),
            ("postgresql://u@%2Ftmp,b/db", {}, {}, [("/tmp", 5432), ("b", 5432)]),
            ("postgresql://a,b/db", {}, {"PGPORT": "1,2"}, [("a", 1), ("b", 2)]),
            ("postgresql://a,b/db", {"port": 3}, {}, [("a", 3), ("b", 3)]),
            ("postgresql:///db?host=a,b&port=1,2", {}, {}, [("a", 1), ("b", 2)]),
            ("postgresql:///db?host=a,b:2&port=1", {}, {}, [("a", 1), ("b", 1)]),
            ("postgresql:///db?host=/tmp,b", {}, {}, [("/tmp", 5432), ("b", 5432)]),
            ("postgresql://a:7,b/db?port=9", {"port": None}, {}, [("a", 7), ("b", 5432)]),
            ("postgresql://c/db", {"host": ["a", "b"]}, {}, [("a", 5432), ("b", 5432)]),
            (None, {"host": ("a", "::1"), "port": [1, 2]}, {}, [("a", 1), ("::1", 2)]),
            (None, {}, {"PGHOST": "a,b", "PGPORT": "1"}, [("a", 1), ("b", 1)]),
            ("postgresql://u@/db", {}, {"PGHOST": "a:1,b"}, [("a", 1), ("b", 5432)]),
            ("postgresql://a/db", {}, {"PGHOST": "b,c", "PGPORT": "1"}, [("a", 1)]),
            ("postgresql://a,b/db", {"host": "c"}, {}, [("c", 5432)]),
            (None, {}, {}, []),
        ),
    )
    def test_several_hosts_are_told_apart_as_asyncpg_does(
        self,
        monkeypatch: pytest.MonkeyPatch,
        dsn_given: str | None,
        options: dict[str, Any],
        environment: dict[str, str],
        found: list[tuple[str, int]],
    ) -> None:
        for name in ("PGHOST", "PGPORT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

        assert list(target(dsn_given, options).hosts) == found
        if found:  # and asyncpg itself
            arguments = dict.fromkeys(inspect.signature(PARSED).parameters)
            arguments |= {"dsn": dsn_given, "user": "u", "database": "db", **options}
            addresses, *_ = PARSED(**arguments)
            assert addresses == [
                f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
                for host, port in found
            ]

    @pytest.mark.parametrize(
        ("attributes", "expected"),
        (
            ({}, ["read-write", "read-write"]),
            ({"target_session_attrs": "any"}, ["any", "any"]),
            (
                {"target_session_attrs": "prefer-standby"},
                ["standby", "standby", "any", "any"],
            ),
        ),
    )
    async def test_of_several_hosts_the_primary_is_asked_for(
        self, monkeypatch: pytest.MonkeyPatch, attributes: dict[str, str], expected: list[str]
    ) -> None:
        asked = []

        async def refuse(*_: Any, target_session_attrs: str, **__: Any) -> None:
            asked.append(target_session_attrs)
            raise ConnectionRefusedError

        monkeypatch.setattr(asyncpg, "connect", refuse)
        with pytest.raises(UnavailableError):
            await pool.connect(host=["a", "b"], **attributes)
        assert asked == expected

    async def test_who_connects_too_late_is_sent_away(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hosts, "HEAD_START", 0.01)
        both = asyncio.Event()
        unwanted: list[str] = []

        async def first() -> str:
            await both.wait()
            return "first"

        async def second() -> str:
            both.set()
            return "second"

        assert await hosts.first_of([first, second], unwanted=unwanted.append) == (1, "second")
        assert unwanted in ([], ["first"])

        async def stubborn() -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "late"
            raise AssertionError

        assert await hosts.first_of([stubborn, second], unwanted=unwanted.append) == (1, "second")
        assert unwanted[-1] == "late"

    async def test_whoever_has_connected_is_sent_away_when_the_caller_is_cancelled(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hosts, "HEAD_START", 0.01)
        leaving, unwanted = asyncio.Event(), list[str]()

        async def slow_to_leave() -> str:
            try:
                await asyncio.Event().wait()
            finally:
                leaving.set()
                with anyio.CancelScope(shield=True):
                    await asyncio.sleep(0.1)
            raise AssertionError

        async def second() -> str:
            return "second"

        trying = asyncio.create_task(
            hosts.first_of([slow_to_leave, second], unwanted=unwanted.append)
        )
        await leaving.wait()
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        assert unwanted == ["second"]

    async def test_a_silent_host_has_until_the_deadline(self) -> None:
        async with self.silent() as silence:
            with pytest.raises(OperationTimeoutError) as caught:
                await AsyncStorage.start(
                    f"postgresql://u@127.0.0.1:{silence.port}/db", name="silence", timeout=0.3
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
    "dsn_given",
    (
        "postgresql://u:secret@[bad/db",
        "postgresql://u:secret@h:port/db",
        "postgresql://u@tenant:secret@h:5432/db",
        "postgresql://u@tenant:secret@h:5432,i:5432/db",
        "postgresql://u:secret@h,,i/db",
        "postgresql://u:secret@h,i:port/db",
        "u:secret@h/db",
        "host=h password='a secret'",
    ),
)
async def test_a_dsn_that_cannot_be_read_is_refused_without_its_password(dsn_given: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        await AsyncStorage.start(dsn_given, name="malformed")
    assert "secret" not in str(caught.value)
    assert "malformed" not in registry.names()
