from __future__ import annotations

from pathlib import Path

import pytest

from hephaestus_pg import (
    InvalidValueError,
)
from tests.support.targets import read

pytestmark = pytest.mark.quick

FILE = """
# two hosts
[pair]
host=a,b
port=1,2
dbname=orders
user=app
password=100%s=cret
target_session_attrs=any

[one]
host = one
connect_timeout=4
channel_binding=prefer

[wrong]
secret
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "services"
    path.write_text(FILE)
    monkeypatch.setenv("PGSERVICEFILE", str(path))
    return path


def test_a_service_is_read_wherever_it_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [read("postgresql://?service=pair"), read("postgresql:///?service=pair")]
    found += [read(None, service="pair"), read("postgresql://", service="pair")]
    monkeypatch.delenv("PGSERVICEFILE")
    found.append(read(f"postgresql://?service=pair&servicefile={file}"))
    found.append(read(None, service="pair", servicefile=file))
    file.rename(Path.home() / ".pg_service.conf")
    monkeypatch.setenv("PGSERVICE", "pair")
    found += [read(None), read("postgresql://")]
    (Path.home() / "etc").mkdir()
    (Path.home() / ".pg_service.conf").rename(Path.home() / "etc" / "pg_service.conf")
    monkeypatch.setenv("PGSYSCONFDIR", str(Path.home() / "etc"))
    found.append(read(None))

    for each in found:
        assert each.hosts == (("a", 1), ("b", 2))
        assert each.options == {
            "user": "app",
            "password": "100%s=cret",
            "database": "orders",
        }
        assert each.session == "any"
        assert "cret" not in repr(each)


@pytest.mark.usefixtures("file")
def test_the_dsn_comes_first_and_the_variables_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "variable")
    monkeypatch.setenv("PGPORT", "9")
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "9")
    found = read("postgresql://other@/mine?service=pair")
    assert found.hosts == (("a", 1), ("b", 2))
    assert (found.options["user"], found.options["database"]) == ("other", "mine")
    found = read("postgresql://?service=one")
    assert (found.hosts, found.connect_timeout) == ((("one", 9),), 4)
    assert read("postgresql://h/?service=one").hosts == (("h", 9),)


def test_a_missing_service_is_an_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidValueError, match=r"^service is 'none': .*\[none\].*services"):
        read("postgresql://?service=none")
    monkeypatch.setenv("PGSERVICE", "none")
    with pytest.raises(InvalidValueError, match="^PGSERVICE is 'none'"):
        read(None)
    with pytest.raises(InvalidValueError, match="^PGSERVICE is 'none'"):
        read("postgresql://h/db")
    file.unlink()
    with pytest.raises(InvalidValueError, match="^service is 'pair'"):
        read("postgresql://?service=pair")
    file.mkdir()
    with pytest.raises(InvalidValueError, match="cannot be read"):
        read("postgresql://?service=pair")


@pytest.mark.usefixtures("file")
def test_a_wrong_line_of_a_service_is_named_without_its_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(InvalidValueError, match=r"line 17 of .*services") as caught:
        read("postgresql://?service=wrong")
    assert "secret" not in str(caught.value)
    read("postgresql://?service=one")
    assert "channel_binding of the service one" in caplog.text
