"""A DSN, its service, options and variables are resolved into one target."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import InvalidValueError
from hephaestus_pg.dsn.passfile import stored_password
from hephaestus_pg.dsn.target import checked_dsn
from tests.support.targets import read, settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.quick


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEPHAESTUS_PG_DSN", "")
    assert checked_dsn(None) is None


def test_a_dsn_may_leave_the_database_to_the_server() -> None:
    assert "database" not in read("postgresql://u@h/").options
    assert read("postgresql://u@h/db%2F1").options["database"] == "db/1"


def test_parameters_of_libpq_are_honoured() -> None:
    found = read(
        "postgresql://u:p@h:1/db?connect_timeout=7&keepalives=1&keepalives_idle=30"
        "&keepalives_interval=5&keepalives_count=3&tcp_user_timeout=1000"
        "&fallback_application_name=fallback&target_session_attrs=primary&gsslib=gssapi"
        "&krbsrvname=pg&sslmode=verify_full&sslrootcert=system&load_balance_hosts=disable"
    )
    assert found.connect_timeout == 7
    assert found.socket == {
        "keepalives": 1,
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 1000,
    }
    assert settings(found) == {"application_name": "fallback"}
    assert found.session == "primary"
    context = found.options["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert found.options["krbsrvname"] == "pg"


def test_a_connect_timeout_below_one_is_no_limit() -> None:
    for seconds in ("0", "-1"):
        assert read(f"postgresql://h/db?connect_timeout={seconds}").connect_timeout is None


def test_the_environment_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PGAPPNAME": "variable",
        "PGOPTIONS": "-c geqo=off",
        "PGCONNECT_TIMEOUT": "3",
        "PGSSLMODE": "require",
    }.items():
        monkeypatch.setenv(name, value)
    found = read("postgresql://h/db?connect_timeout=4")
    assert settings(found) == {"application_name": "variable", "geqo": "off"}
    assert found.connect_timeout == 4
    assert found.options["ssl"] == "require"
    assert settings(read("postgresql://h/db?application_name=x&options=-c%20geqo%3Don")) == {
        "application_name": "x",
        "geqo": "on",
    }


def test_a_user_without_a_name_and_a_home_needs_neither(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unknown(*_: object) -> None:
        raise KeyError("getpwuid(): uid not found")

    pwd = pytest.importorskip("pwd")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "PGUSER", "PGPASSFILE"):
        monkeypatch.delenv(name, raising=False)
    assert stored_password({"host": "h", "user": "u"}) == ""
    with pytest.raises(InvalidValueError, match=r"^sslmode is 'verify-full'.* ~/\.postgresql"):
        read("postgresql://u@h/db?sslmode=verify-full")
    with pytest.raises(InvalidValueError, match=r"^service is 'x'.*~/\.pg_service\.conf"):
        read("postgresql://u@h/db?service=x")
    with pytest.raises(InvalidValueError, match=r"^user is None: name one in the DSN"):
        read("postgresql://h/db")
    assert read("postgresql://h/db", user="u").hosts
    with pytest.raises(InvalidValueError, match="^sslrootcert is .*No such file"):
        read(f"postgresql://u@h/db?sslmode=verify-full&sslrootcert={tmp_path / 'missing'}")
