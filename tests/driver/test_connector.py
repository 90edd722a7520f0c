"""How connecting fails, and what is said then."""

from __future__ import annotations

import asyncio
import logging
import socket
import traceback
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import asyncpg
import pytest

from hephaestus_pg import (
    AccessDeniedError,
    AsyncStorage,
    DatabaseError,
    HephaestusError,
    Instance,
    InvalidValueError,
    MigrationError,
    Names,
    OperationTimeoutError,
    RejectedError,
    UnavailableError,
    migrate,
    migrations,
    prune,
    registry,
)
from hephaestus_pg.driver import errors, pool
from hephaestus_pg.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

RULES = """
host all postgres    127.0.0.1/32 trust
host all limited     127.0.0.1/32 trust
host all nologin     127.0.0.1/32 trust
host all nobody_else 127.0.0.1/32 trust
host all scram       127.0.0.1/32 scram-sha-256
host all shut        127.0.0.1/32 reject
"""


@pytest.fixture(scope="module")
def guarded() -> Iterator[EmbeddedServer]:
    """A server that lets some in, each in its own way."""
    with EmbeddedServer(settings={"fsync": "off"}) as server:
        asyncio.run(_guard(server))
        yield server


async def _guard(server: EmbeddedServer) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        for statement in (
            "CREATE ROLE scram LOGIN PASSWORD 'right'",
            "CREATE ROLE limited LOGIN CONNECTION LIMIT 0",
            "CREATE ROLE nologin",
            "CREATE ROLE shut LOGIN",
            "CREATE DATABASE closed ALLOW_CONNECTIONS false",
            "CREATE DATABASE private",
            "REVOKE CONNECT ON DATABASE private FROM PUBLIC",
        ):
            await connection.execute(statement)
        file = Path(await connection.fetchval("SHOW hba_file"))
        await asyncio.to_thread(file.write_text, RULES)
        await connection.execute("SELECT pg_reload_conf()")
        while await connection.fetchval("SELECT count(*) FROM pg_hba_file_rules") != 6:
            await asyncio.sleep(0.01)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("user", "database", "error", "said"),
    (
        ("postgres", "nope", RejectedError, '"nope" does not exist; check the database'),
        ("scram:wrong", "postgres", AccessDeniedError, "password.*is percent-encoded"),
        ("scram", "postgres", AccessDeniedError, "password.*is percent-encoded"),
        ("scram:right", "private", AccessDeniedError, "GRANT CONNECT ON DATABASE"),
        ("scram:right", "", RejectedError, "none is named in the DSN"),
        ("nobody", "postgres", AccessDeniedError, "pg_hba.conf have it in.*sslmode=require"),
        ("shut", "postgres", AccessDeniedError, "pg_hba.conf shuts this user out"),
        ("nobody_else", "postgres", AccessDeniedError, "CREATE ROLE"),
        ("nologin", "postgres", AccessDeniedError, "ALTER ROLE … LOGIN"),
        ("limited", "postgres", UnavailableError, "max_connections.*PgBouncer"),
        ("postgres", "closed", RejectedError, "ALLOW_CONNECTIONS"),
        ("postgres", "postgres?sslmode=require", UnavailableError, "sslmode=disable"),
    ),
)
async def test_a_server_that_refuses_says_what_to_do(
    guarded: EmbeddedServer, user: str, database: str, error: type[DatabaseError], said: str
) -> None:
    place = f"127.0.0.1:{guarded.port}"
    with pytest.raises(error, match=f"(?s)at {place}: .*{said}") as caught:
        await AsyncStorage.start(f"postgresql://{user}@{place}/{database}", name="refused")
    assert type(caught.value) is error
    assert caught.value.applied == "no"
    assert caught.value.__cause__ is not None
    assert "wrong" not in str(caught.value)
    assert "refused" not in registry.names()


@asynccontextmanager
async def listening(answer: bytes | None) -> AsyncIterator[int]:
    """A port that says that to whoever comes, and hangs up; ``None``: it says nothing, for ever."""
    writers = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if answer is not None:
            writer.write(answer)
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            for writer in writers:
                writer.close()


@pytest.mark.parametrize("mode", ("prefer", "disable", "require"))
@pytest.mark.parametrize("answer", (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n", b""))
async def test_what_is_no_postgresql_is_called_so(mode: str, answer: bytes) -> None:
    async with listening(answer) as port:
        with pytest.raises(UnavailableError, match=f"127.0.0.1:{port}: .*PostgreSQL: check|hung"):
            await AsyncStorage.start(f"postgresql://u@127.0.0.1:{port}/db?sslmode={mode}")


@pytest.mark.parametrize(
    ("host", "said"),
    (
        ("127.0.0.1:1", "at 127.0.0.1:1: .*nobody listens there"),
        ("localhost:1", "at localhost:1: .*nobody listens there"),
        ("no-such-host.invalid", "at no-such-host.invalid:5432: .*check the DSN's host"),
        ("%2Fno%2Fsuch%2Ffolder", "at /no/such/folder:5432: .*there is no socket"),
    ),
)
async def test_where_nobody_answers_the_place_is_named(host: str, said: str) -> None:
    with pytest.raises(UnavailableError, match=said):
        await AsyncStorage.start(f"postgresql://u:secret@{host}/db")


class TestSilence:
    async def test_the_place_is_named(self) -> None:
        async with listening(None) as port:
            with pytest.raises(OperationTimeoutError, match=f"127.0.0.1:{port} does not answer"):
                await AsyncStorage.start(f"postgresql://u@127.0.0.1:{port}/db", timeout=0.3)

    async def test_a_deadline_that_passes_earlier_names_it_too(self) -> None:
        async with listening(None) as port:
            with (
                pytest.raises(OperationTimeoutError, match=f"127.0.0.1:{port} does not answer"),
                errors.translated_errors(connecting=True),
            ):
                async with asyncio.timeout(0.1):
                    await pool.connect(f"postgresql://u@127.0.0.1:{port}/db")

    async def test_a_limit_of_its_own_leaves_time_for_another_try(self) -> None:
        async with listening(None) as port:
            with pytest.raises(UnavailableError, match="does not answer") as caught:
                await pool.connect(f"postgresql://u@127.0.0.1:{port}/db?connect_timeout=1")
        assert caught.value.retryable


class TestSettings:
    async def shown(self, dsn: str, schema: str, *names: str, **options: Any) -> list[str]:
        async with (
            AsyncStorage.start(dsn, name=schema, schema=schema, **options) as storage,
            storage.transaction() as transaction,
        ):
            return [await transaction.connection.fetchval(f"SHOW {name}") for name in names]

    async def test_those_of_the_dsn_go_before_ours_and_behind_the_callers(
        self, dsn: str, migrated: str
    ) -> None:
        names = "application_name", "statement_timeout", "client_connection_check_interval"
        assert await self.shown(dsn, migrated, *names) == ["", "27001ms", "1s"]
        query = "application_name=mine&statement_timeout=7s&client_connection_check_interval=3s"
        assert await self.shown(f"{dsn}?{query}", migrated, *names) == ["mine", "7s", "3s"]
        query = "fallback_application_name=mine&options=-c%20statement_timeout%3D8s"
        assert await self.shown(f"{dsn}?{query}", migrated, *names) == ["mine", "8s", "1s"]
        theirs = {"server_settings": {"application_name": "theirs"}}
        assert await self.shown(f"{dsn}?{query}", migrated, *names[:1], **theirs) == ["theirs"]

    async def test_an_option_that_is_none_is_as_if_it_were_not_given(
        self, dsn: str, migrated: str
    ) -> None:
        none = dict.fromkeys(("connect", "server_settings", "host", "password", "ssl", "init"))
        shown = await self.shown(f"{dsn}?connect_timeout=9&geqo=off", migrated, "geqo", **none)
        assert shown == ["off"]

    @pytest.mark.parametrize(
        ("query", "said"),
        (
            ("foo=1", "^foo is '1': neither libpq nor the server knows it: take it out"),
            ("sslmod=require", "^sslmod is .*did you mean sslmode"),
            ("target_session_attr=any", "^target_session_attr is .*did you mean target_s"),
            ("options=-c%20foo%3D1", "^foo is '1': neither libpq nor the server knows it"),
            ("statement_timeout=soon", "^statement_timeout is 'soon': .*invalid value"),
            ("max_connections=5", "^max_connections is '5': .*cannot be changed"),
        ),
    )
    async def test_one_that_the_server_does_not_know_is_named(
        self, dsn: str, query: str, said: str
    ) -> None:
        own = urlsplit(dsn).netloc.rpartition("@")[2]
        for given in (dsn, dsn.replace(own, f"{own},{own}")):
            with pytest.raises(InvalidValueError, match=said) as caught:
                await AsyncStorage.start(f"{given}?{query}")
            assert isinstance(caught.value.__cause__, asyncpg.PostgresError)
            with pytest.raises(InvalidValueError, match=said):
                await migrations.status(f"{given}?{query}")

    async def test_what_keeps_a_connection_alive_is_set(self, dsn: str) -> None:
        query = (
            "keepalives=1&keepalives_idle=31&keepalives_interval=7&keepalives_count=4"
            "&tcp_user_timeout=9000"
        )
        connection: Any = await pool.connect(f"{dsn}?{query}")
        try:
            raw = connection._transport.get_extra_info("socket")
            assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            for option, value in (
                ("TCP_KEEPIDLE", 31),
                ("TCP_KEEPINTVL", 7),
                ("TCP_KEEPCNT", 4),
                ("TCP_USER_TIMEOUT", 9000),
            ):
                if hasattr(socket, option):
                    found = raw.getsockopt(socket.IPPROTO_TCP, getattr(socket, option))
                    assert found == value
        finally:
            await connection.close()


async def test_a_password_that_cannot_be_had_is_no_fault_of_the_dsn(dsn: str) -> None:
    def password() -> str:
        raise ValueError("the vault is shut")

    own = urlsplit(dsn).netloc.rpartition("@")[2]
    for given in (dsn, dsn.replace(own, f"{own},{own}")):
        with pytest.raises(ValueError, match="^the vault is shut$") as caught:
            await pool.connect(given, password=password)
        assert not isinstance(caught.value, InvalidValueError)


class TestReadOnly:
    """A primary whose sessions may only read is no standby: trying again does not help."""

    @pytest.fixture
    async def admin(self, database: str) -> AsyncIterator[asyncpg.Connection[Any]]:
        connection = await asyncpg.connect(
            database, server_settings={"default_transaction_read_only": "off"}
        )
        yield connection
        await connection.close()

    @pytest.fixture
    async def where(
        self,
        request: pytest.FixtureRequest,
        database: str,
        admin: asyncpg.Connection[Any],
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """A DSN, and options, with which no session may write."""
        await migrations.up(database)
        setting = "default_transaction_read_only"
        url = urlsplit(database)
        role = f"reader_{uuid4().hex[:8]}"
        options: dict[str, Any] = {}
        given = database
        match request.param:
            case "database":
                await admin.execute(f"ALTER DATABASE {url.path[1:]} SET {setting} = on")
            case "role":
                await admin.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
                await admin.execute(f"ALTER ROLE {role} SET {setting} = on")
                given = url._replace(netloc=f"{role}@{url.netloc.rpartition('@')[2]}").geturl()
            case "query":
                given = f"{database}?{setting}=on"
            case "options":
                given = f"{database}?options=-c%20{setting}%3Don"
            case "server_settings":
                options = {"server_settings": {setting: "on"}}
            case "several hosts":
                own = url.netloc.rpartition("@")[2]
                given = f"{database.replace(own, f'127.0.0.1:1,{own}')}?{setting}=on"
        yield given, options
        if request.param == "role":
            await admin.execute(f"DROP ROLE {role}")

    @pytest.mark.parametrize(
        "where",
        ("database", "role", "query", "options", "server_settings", "several hosts"),
        indirect=True,
    )
    async def test_a_write_fails_at_once_and_reads_go_on(
        self, where: tuple[str, dict[str, Any]], caplog: pytest.LogCaptureFixture
    ) -> None:
        given, options = where
        x = Instance("x", "W")
        caplog.set_level(logging.DEBUG, "hephaestus_pg")
        async with AsyncStorage.start(given, references=Names(), **options) as storage:

            async def in_transaction() -> None:
                async with storage.transaction() as transaction:
                    await transaction.put(x)

            writes: tuple[Callable[[], Awaitable[object]], ...] = (
                lambda: storage.put(x),
                lambda: storage.insert(x),
                lambda: storage.update(replace(x, revision=1)),
                lambda: storage.delete("x"),
                lambda: storage.put_many([x, replace(x, id="y")]),
                lambda: storage.delete_many(["x"]),
                lambda: storage.prune(finished_before=datetime.now(UTC)),
                in_transaction,
            )
            for write in writes:
                with pytest.raises(RejectedError, match="default_transaction_read_only") as caught:
                    await write()
                assert not caught.value.retryable
                assert caught.value.applied == "no"
            assert await storage.count() == 0
        assert "tried again" not in caplog.text

    async def test_a_migration_says_so_too(self, database: str) -> None:
        with pytest.raises(MigrationError, match="default_transaction_read_only"):
            await migrations.up(f"{database}?default_transaction_read_only=on")

    async def test_who_asks_for_a_server_to_write_to_is_told_what_there_is(
        self, database: str
    ) -> None:
        query = "default_transaction_read_only=on&target_session_attrs=read-write"
        with pytest.raises(UnavailableError, match="is not read-write.*a standby, or a primary"):
            await pool.connect(f"{database}?{query}")
        with pytest.raises(UnavailableError, match="is not standby.*it is a primary"):
            await pool.connect(f"{database}?target_session_attrs=standby")


class TestPasswords:
    SECRET = "s3cr%t p@ss/wörd"

    @pytest.fixture(params=("url", "query", "service", "variable", "option", "passfile", "hook"))
    def given(
        self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[str, dict[str, Any]]:
        """A DSN without its host, and options, with the password in one of its places."""
        encoded = quote(self.SECRET, safe="")
        match request.param:
            case "url":
                return f"postgresql://scram:{encoded}@{{}}/postgres?{{}}", {}
            case "query":
                return f"postgresql://scram@{{}}/postgres?password={encoded}&{{}}", {}
            case "service":
                file = tmp_path / "services"
                file.write_text(f"[x]\nuser=scram\npassword={self.SECRET}\n")
                monkeypatch.setenv("PGSERVICEFILE", str(file))
                return "postgresql://{}/postgres?service=x&{}", {}
            case "variable":
                monkeypatch.setenv("PGPASSWORD", self.SECRET)
                return "postgresql://scram@{}/postgres?{}", {}
            case "passfile":
                file = tmp_path / "passwords"
                file.write_text(f"*:*:*:scram:{self.SECRET}\n")
                file.chmod(0o600)
                return f"postgresql://scram@{{}}/postgres?passfile={file}&{{}}", {}
            case "hook":
                return "postgresql://scram@{}/postgres?{}", {"password": lambda: self.SECRET}
            case _:
                return "postgresql://scram@{}/postgres?{}", {"password": self.SECRET}

    @pytest.mark.parametrize(
        ("place", "query"),
        (
            ("{own}", ""),
            ("{own},{own}", ""),
            ("127.0.0.1:1", ""),
            ("127.0.0.1:1,127.0.0.1:2", ""),
            ("127.0.0.1:99999", ""),
            ("127.0.0.1:port", ""),
            ("{own}", "connection_limit=5"),
            ("{own}", "channel_binding=require"),
            ("{own}", "sslmode=require&sslcompression=0"),
            ("{own}", "sslnegotiation=direct"),
        ),
    )
    async def test_none_is_shown_whatever_fails(
        self,
        guarded: EmbeddedServer,
        given: tuple[str, dict[str, Any]],
        place: str,
        query: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        pattern, options = given
        dsn = pattern.format(place.format(own=f"127.0.0.1:{guarded.port}"), query).rstrip("?&")
        with pytest.raises(HephaestusError) as caught:
            await AsyncStorage.start(dsn, timeout=5, **options)
        seen = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
        shown: BaseException | None = caught.value
        while shown is not None:
            seen += f"{shown!r} {vars(shown)}"
            shown = shown.__cause__ or shown.__context__
        for part in ("s3cr", "p@ss", "p%40ss", "wörd"):
            assert part not in seen


@pytest.mark.parametrize(
    ("given", "said"),
    (
        ("postgresql+asyncpg://u:secret@h/db", "take +asyncpg away"),
        ("", "it is empty"),
        ("postgresql://u:secret@h/db?connection_limit=5", "start(max_size=5)"),
        ("postgresql://u:secret@127.0.0.1:1/db", "nobody listens there"),
        ("postgresql://u:secret@127.0.0.1:1,127.0.0.1:2/db", "nobody listens there"),
        ("host=h password=secret", "postgresql://user:***@h/"),
        ("postgresql://u:secret/db", "its port is no number"),
    ),
)
@pytest.mark.parametrize("command", (("migrate", "status"), ("prune", "--finished-before", "30d")))
def test_the_commands_say_the_same_in_one_line(
    given: str, said: str, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    main = {"migrate": migrate.main, "prune": prune.main}[command[0]]
    options = ["--dry-run"] if command[0] == "prune" else []
    assert main([*command[1:], "--dsn", given, *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error
    assert "secret" not in error
