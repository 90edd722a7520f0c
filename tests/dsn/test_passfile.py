from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import InvalidValueError
from hephaestus_pg.dsn.passfile import stored_password
from tests.support.targets import read

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.quick


def test_a_passfile_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missing, open_to_all = tmp_path / "missing", tmp_path / "open"
    open_to_all.write_text("*:*:*:*:secret")
    open_to_all.chmod(0o644)
    with pytest.raises(InvalidValueError, match=r"^passfile is .*No such file"):
        read(f"postgresql://h/db?passfile={missing}")
    with pytest.raises(InvalidValueError, match=r"^passfile is .*chmod 600"):
        read("postgresql://h/db", passfile=open_to_all)
    monkeypatch.setenv("PGPASSFILE", str(missing))
    with pytest.raises(InvalidValueError, match=r"^PGPASSFILE is "):
        read("postgresql://h/db")
    assert read("postgresql://u:p@h/db").options["password"] == "p"  # it is not needed
    monkeypatch.setenv("PGPASSFILE", os.devnull)  # none is wanted
    assert read("postgresql://h/db").hosts


def written(folder: Path, *lines: str) -> Path:
    file = folder / "passwords"
    file.write_text("\n".join(lines))
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    ("line", "password"),
    (
        ("h:5432:db:u:secret", "secret"),
        ("*:*:*:*:secret", "secret"),
        (r"h:*:db:u:4\:K1\\", "4:K1\\"),
        ("h:*:db:u:a:b", "a:b"),
        (r"h:*:d\b:u:secret", "secret"),
        ("h:*:db:u: kept ", " kept "),
        ("#h:*:db:u:secret", "of others"),
        ("other:*:db:u:secret", "of others"),
        ("h:5433:db:u:secret", "of others"),
    ),
)
def test_an_entry_is_read_as_by_libpq(tmp_path: Path, line: str, password: str) -> None:
    file = written(tmp_path, "no entry", "", line, "*:*:*:*:of others")
    options = {"host": "h", "port": 5432, "user": "u", "database": "db", "passfile": file}
    assert stored_password(options) == password


def test_an_address_with_colons_and_a_socket_are_found(tmp_path: Path) -> None:
    file = written(tmp_path, r"\:\:1:*:*:u:of the address", "localhost:*:*:u:of the socket")
    options = {"port": 5432, "user": "u", "passfile": file}
    assert stored_password(options | {"host": "::1"}) == "of the address"
    assert stored_password(options | {"host": "/tmp"}) == "of the socket"
    assert stored_password(options) == "of the socket"


def test_the_users_own_file_is_left_out_where_it_is_open_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("PGPASSFILE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    options = {"host": "h", "user": "u"}
    assert not stored_password(options)
    file = written(tmp_path, "*:*:*:*:secret").rename(tmp_path / ".pgpass")
    assert stored_password(options) == "secret"
    file.chmod(0o644)
    assert not stored_password(options)
    assert "chmod 600" in caplog.text
