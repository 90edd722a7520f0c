"""Hosts and ports, wherever they are given."""

from __future__ import annotations

import inspect
from typing import Any

import asyncpg
import pytest

from hephaestus_pg import InvalidValueError
from hephaestus_pg.dsn.target import resolve
from tests.support.targets import read

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("dsn", "hosts"),
    (
        ("postgresql://", ()),
        ("postgresql:///db", ()),
        ("postgres://h", (("h", 5432),)),
        ("POSTGRESQL://h:/db", (("h", 5432),)),
        ("postgresql://u:p@/db?host=/cloudsql/p:r:i", (("/cloudsql/p:r:i", 5432),)),
        ("postgresql://u:p@%2Fcloudsql%2Fp%3Ar%3Ai/db", (("/cloudsql/p:r:i", 5432),)),
        ("postgresql:///db?host=::1", (("::1", 5432),)),
        ("postgresql:///db?hostaddr=10.0.0.1&port=7", (("10.0.0.1", 7),)),
        ("postgresql://h:7/db?hostaddr=10.0.0.1", (("10.0.0.1", 7),)),
        ("postgresql://a,b:7/db?hostaddr=::1,::2", (("::1", 5432), ("::2", 7))),
    ),
)
def test_each_form_of_a_host_is_read(dsn: str, hosts: tuple[tuple[str, int], ...]) -> None:
    assert read(dsn).hosts == hosts


@pytest.mark.parametrize(
    ("dsn", "variables", "options", "message"),
    (
        ("postgresql://h:70000/db", {}, {}, "^port is '70000': .* 1 to 65535"),
        ("postgresql://h:0/db", {}, {}, "^port is '0'"),
        ("postgresql://h,i:99999/db", {}, {}, "^port is '99999'"),
        ("postgresql:///db?port=abc", {}, {}, "^port is 'abc'"),
        ("postgresql://h/db", {"PGPORT": "abc"}, {}, "^PGPORT is 'abc'"),
        (
            "postgresql://h/db",
            {"PGPORT": "5432,"},
            {},
            "^port is .* as many as there are hosts",
        ),
        (None, {"PGPORT": "70000"}, {}, "^PGPORT is '70000'"),
        (None, {"PGHOST": "h,", "PGPORT": "1"}, {}, "^PGHOST is 'h,'"),
        ("postgresql://h/db", {}, {"port": 70000}, "^port is 70000"),
        ("postgresql://h/db", {}, {"port": "abc"}, "^port is 'abc'"),
        ("postgresql://h/db", {}, {"port": 1.5}, "^port is 1.5"),
        ("postgresql://a,b,c/db", {}, {"port": [1, 2]}, r"^port is \[1, 2\]: .* 3"),
        ("postgresql://a,b/db?hostaddr=10.0.0.1", {}, {}, "^hostaddr is .* as many"),
        (
            "postgresql://a/db?hostaddr=10.0.0.1&sslmode=verify-full&sslrootcert=system",
            {},
            {},
            "^hostaddr is .* certificate",
        ),
        (None, {"PGTARGETSESSIONATTRS": "master"}, {}, "^PGTARGETSESSIONATTRS is .*read-write"),
        ("postgresql://h/?target_session_attrs=x", {}, {}, "^target_session_attrs is .*any, r"),
        (None, {}, {"target_session_attrs": "x"}, "^target_session_attrs is .*prefer-standby"),
        (None, {"PGSSLMODE": "wrong"}, {}, "^PGSSLMODE is 'wrong': .*verify-full"),
        ("postgresql://h/db", {}, {"ssl": "wrong"}, "^ssl is 'wrong': .*verify-full"),
        (None, {"PGCONNECT_TIMEOUT": "5s"}, {}, "^PGCONNECT_TIMEOUT is '5s'"),
        (None, {"PGCHANNELBINDING": "require"}, {}, "^PGCHANNELBINDING is 'require'"),
    ),
)
def test_a_wrong_value_is_named_wherever_it_stands(
    monkeypatch: pytest.MonkeyPatch,
    dsn: str | None,
    variables: dict[str, str],
    options: dict[str, Any],
    message: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidValueError, match=message):
        read(dsn, **options)


def test_hostaddr_in_the_environment_applies_only_to_its_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGHOSTADDR", "10.0.0.1")
    assert read(None).hosts == (("10.0.0.1", 5432),)
    assert read("postgresql://h/db").hosts == (("h", 5432),)
    monkeypatch.setenv("PGHOST", "other")
    assert read(None).hosts == (("10.0.0.1", 5432),)


PARSED = vars(asyncpg.connect_utils)["_parse_connect_dsn_and_args"]


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
        ("postgresql://a:7,b/db", {"port": None}, {}, [("a", 7), ("b", 5432)]),
        ("postgresql://c/db", {"host": ["a", "b"]}, {}, [("a", 5432), ("b", 5432)]),
        (None, {"host": ("a", "::1"), "port": [1, 2]}, {}, [("a", 1), ("::1", 2)]),
        (None, {}, {"PGHOST": "a,b", "PGPORT": "1"}, [("a", 1), ("b", 1)]),
        ("postgresql://u@/db", {}, {"PGHOST": "a:1,b"}, [("a", 1), ("b", 5432)]),
        ("postgresql://a/db", {}, {"PGHOST": "b,c", "PGPORT": "1"}, [("a", 1)]),
        ("postgresql://a,b/db", {"host": "c"}, {}, [("c", 5432)]),
        (None, {}, {}, []),
    ),
)
def test_several_hosts_are_read_as_by_asyncpg(
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

    assert list(resolve(dsn_given, options).hosts) == found
    if found:  # and asyncpg itself
        arguments = dict.fromkeys(inspect.signature(PARSED).parameters)
        arguments |= {"dsn": dsn_given, "user": "u", "database": "db", **options}
        addresses, *_ = PARSED(**arguments)
        assert addresses == [
            f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
            for host, port in found
        ]


@pytest.mark.parametrize(
    ("dsn_given", "found"),
    (
        ("postgresql://u:p@localhost/db?host=/cloudsql/p:r:i", [("/cloudsql/p:r:i", 5432)]),
        ("postgresql://u:p@localhost:6432/db?host=%2Ftmp", [("/tmp", 6432)]),
        ("postgresql://u:p@h/db?port=5433", [("h", 5433)]),
        ("postgresql://u:p@h:1/db?port=5433", [("h", 5433)]),
        ("postgresql://[::1]:7,b/db?port=9", [("::1", 9), ("b", 9)]),
        ("postgresql://a,b/db?port=1,2", [("a", 1), ("b", 2)]),
    ),
)
def test_a_host_or_port_in_the_query_takes_precedence_as_in_libpq(
    monkeypatch: pytest.MonkeyPatch, dsn_given: str, found: list[tuple[str, int]]
) -> None:
    monkeypatch.delenv("PGPORT", raising=False)
    assert list(resolve(dsn_given, {}).hosts) == found


def test_an_empty_host_among_others_is_refused() -> None:
    for host in (",a", ["", "a"]):
        with pytest.raises(InvalidValueError, match="^host is .*give host:port"):
            resolve(None, {"host": host})
