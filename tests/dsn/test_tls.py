from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from hephaestus_pg import (
    InvalidValueError,
)
from tests.support.targets import read

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("name", ("sslrootcert", "sslcert", "sslkey", "sslcrl"))
def test_a_file_that_is_missing_or_no_pem_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    mode = "sslmode=require"
    monkeypatch.chdir(tmp_path)
    missing, wrong = "missing", "wrong"
    Path(wrong).write_text("no certificate")
    with pytest.raises(InvalidValueError, match=f"^{name} is .*missing.*No such file"):
        read(f"postgresql://h/db?{mode}&{name}={missing}")
    monkeypatch.setenv(f"PG{name.upper()}", missing)
    with pytest.raises(InvalidValueError, match=f"^PG{name.upper()} is ") as caught:
        read(f"postgresql://h/db?{mode}")
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    if name != "sslkey":
        with pytest.raises(InvalidValueError, match=f"^{name} is .*give a PEM file"):
            read(f"postgresql://h/db?{mode}&{name}={wrong}")
    assert read("postgresql://h/db?sslmode=disable").options["ssl"] == "disable"
    assert read(f"postgresql:///db?host={tmp_path}").options == {"database": "db"}


def test_verification_needs_a_certificate_authority() -> None:
    for mode in ("verify-ca", "verify-full"):
        with pytest.raises(InvalidValueError, match=f"^sslmode is '{mode}'.*sslrootcert=FILE"):
            read(f"postgresql://h/db?sslmode={mode}")
    with pytest.raises(InvalidValueError, match="^sslmode is 'require'.*verify-full"):
        read("postgresql://h/db?sslmode=require&sslrootcert=system")
    with pytest.raises(InvalidValueError, match=r"^ssl is 'verify-full'.*sslrootcert=FILE"):
        read("postgresql://h/db", ssl="verify-full")


def test_the_systems_authorities_are_asked_for_the_hosts_name_as_in_libpq(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = read("postgresql://h/db?sslrootcert=system").options["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    with pytest.raises(InvalidValueError, match="^hostaddr "):
        read("postgresql://h/db?sslrootcert=system&hostaddr=10.0.0.1")
    monkeypatch.setenv("PGSSLROOTCERT", "system")
    assert isinstance(read("postgresql://h/db").options["ssl"], ssl.SSLContext)
    with pytest.raises(InvalidValueError, match="^sslmode is 'disable'.*PGSSLROOTCERT=system"):
        read("postgresql://h/db?sslmode=disable")


@pytest.mark.parametrize("root", ("system", "/missing"))
def test_over_a_socket_no_setting_of_tls_matters(
    monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", root)
    assert read("postgresql:///db?host=/tmp").options["ssl"] == "disable"
