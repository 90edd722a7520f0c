"""Errors of connecting name the place and say what to do, without a password."""

from __future__ import annotations

import asyncio
import logging
import traceback
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import asyncpg
import pytest

from hephaestus_pg import (
    AccessDeniedError,
    AsyncStorage,
    DatabaseError,
    HephaestusError,
    OperationTimeoutError,
    RejectedError,
    UnavailableError,
    migrate,
    prune,
    registry,
)
from hephaestus_pg.driver import connector, errors
from hephaestus_pg.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


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
    """A server with a rule of its own in pg_hba.conf for each role."""
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
    assert caught.value.sqlstate == getattr(caught.value.__cause__, "sqlstate", None)
    assert "wrong" not in str(caught.value)
    assert "refused" not in registry.names()


@asynccontextmanager
async def listening(answer: bytes | None) -> AsyncIterator[int]:
    """A port that answers every client so and hangs up; ``None``: it stays silent."""
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
async def test_a_server_of_another_kind_is_named_as_no_postgresql(mode: str, answer: bytes) -> None:
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
async def test_an_address_without_a_server_is_named(host: str, said: str) -> None:
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
                    await connector.connect(f"postgresql://u@127.0.0.1:{port}/db")

    async def test_a_limit_of_its_own_leaves_time_for_another_try(self) -> None:
        async with listening(None) as port:
            with pytest.raises(UnavailableError, match="does not answer") as caught:
                await connector.connect(f"postgresql://u@127.0.0.1:{port}/db?connect_timeout=1")
        assert caught.value.retryable


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
    async def test_no_error_shows_a_password(
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
