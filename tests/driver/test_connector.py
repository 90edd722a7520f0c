"""Connecting to one host or to several, with the settings of the DSN."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from hephaestus_pg import (
    AccessDeniedError,
    AsyncStorage,
    DatabaseError,
    InvalidValueError,
    OperationTimeoutError,
    UnavailableError,
    migrations,
    registry,
)
from hephaestus_pg.driver import connector, happy_eyeballs
from tests.chaos.proxy import Proxy
from tests.support.lag import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.starting import Start


class Silence:
    """The clients that a silent server keeps waiting."""

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
        self, dsn: str, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        user, _, rest = dsn.partition("@")
        async with self.silent() as silence, within(9):
            several = f"{user}@127.0.0.1:{silence.port},127.0.0.1:1,{rest}"
            async with start(several, timeout=30, max_size=2) as storage:
                # The one that answered is asked first from now on.
                monkeypatch.setattr(happy_eyeballs, "HEAD_START", 600)
                asked = len(silence.writers)
                async with storage.transaction(), storage.transaction():
                    pass
                assert len(silence.writers) == asked == 1

    @pytest.mark.usefixtures("thirds")
    @pytest.mark.parametrize("where", ("query", "options", "environment"))
    async def test_hosts_may_stand_wherever_asyncpg_takes_them(
        self, dsn: str, start: Start, monkeypatch: pytest.MonkeyPatch, where: str
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
            async with start(given.geturl(), name=where, timeout=30, **options) as storage:
                assert await storage.count() == 0
            assert len(silence.writers) == 1

    @pytest.mark.usefixtures("thirds")
    async def test_a_call_with_little_time_finds_the_host_that_is_left(
        self, dsn: str, start: Start
    ) -> None:
        url = urlsplit(dsn)
        user = url.netloc.rpartition("@")[0]
        async with Proxy(lambda: url.port or 5432) as first, Proxy(lambda: url.port or 5432) as two:
            several = url._replace(netloc=f"{user}@127.0.0.1:{first.port},127.0.0.1:{two.port}")
            async with start(several.geturl(), max_size=1, timeout=30) as storage:
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
            await connector.connect(host=["a", "b"], **attributes)
        assert asked == expected

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

    async def test_a_standby_is_not_taken_for_a_primary(self, dsn: str, start: Start) -> None:
        with pytest.raises((UnavailableError, DatabaseError)):
            await start(f"{dsn}?target_session_attrs=standby")
        async with start(f"{dsn}?target_session_attrs=read-write") as storage:
            assert await storage.get("x") is None


class TestSettings:
    async def shown(self, dsn: str, schema: str, *names: str, **options: Any) -> list[str]:
        async with (
            AsyncStorage.start(dsn, name=schema, schema=schema, **options) as storage,
            storage.transaction() as transaction,
        ):
            return [await transaction.connection.fetchval(f"SHOW {name}") for name in names]

    async def test_settings_of_the_dsn_override_defaults_and_yield_to_options(
        self, dsn: str, migrated: str
    ) -> None:
        names = "application_name", "statement_timeout", "client_connection_check_interval"
        assert await self.shown(dsn, migrated, *names) == ["hephaestus_pg", "27001ms", "1s"]
        query = "application_name=mine&statement_timeout=7s&client_connection_check_interval=3s"
        assert await self.shown(f"{dsn}?{query}", migrated, *names) == ["mine", "7s", "3s"]
        query = "fallback_application_name=mine&options=-c%20statement_timeout%3D8s"
        assert await self.shown(f"{dsn}?{query}", migrated, *names) == ["mine", "8s", "1s"]
        theirs = {"server_settings": {"application_name": "theirs"}}
        assert await self.shown(f"{dsn}?{query}", migrated, *names[:1], **theirs) == ["theirs"]
        name = "citus.override_table_visibility"
        query = f"options=-c%20{name}%3Don"
        assert await self.shown(f"{dsn}?{query}", migrated, name) == ["on"]

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
    async def test_a_setting_that_the_server_refuses_is_named(
        self, dsn: str, query: str, said: str
    ) -> None:
        own = urlsplit(dsn).netloc.rpartition("@")[2]
        for given in (dsn, dsn.replace(own, f"{own},{own}")):
            with pytest.raises(InvalidValueError, match=said) as caught:
                await AsyncStorage.start(f"{given}?{query}")
            assert isinstance(caught.value.__cause__, asyncpg.PostgresError)
            with pytest.raises(InvalidValueError, match=said):
                await migrations.status(f"{given}?{query}")


async def test_an_error_of_a_password_function_is_not_blamed_on_the_dsn(dsn: str) -> None:
    def password() -> str:
        raise ValueError("the vault is shut")

    own = urlsplit(dsn).netloc.rpartition("@")[2]
    for given in (dsn, dsn.replace(own, f"{own},{own}")):
        with pytest.raises(ValueError, match="^the vault is shut$") as caught:
            await connector.connect(given, password=password)
        assert not isinstance(caught.value, InvalidValueError)


async def test_a_password_file_with_a_line_that_is_no_entry_is_no_obstacle(
    dsn: str, tmp_path: Path
) -> None:
    file = tmp_path / "passwords"
    file.write_text("no entry")
    file.chmod(0o600)
    connection = await connector.connect(dsn, passfile=file)
    await connection.close()
