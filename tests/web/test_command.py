"""``python -m hephaestus_pg web``."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psycopg
import pytest

from hephaestus_pg.web.command import main
from tests.support.catalog import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.once

pytest.importorskip("jinja2", reason="the group test is not installed")


@contextmanager
def served(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The URL that the command prints, and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hephaestus_pg", "web", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, such as these tests may be, have it ignored.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "http://" in line, process.communicate()[1]
            yield line.split()[2], process
        finally:
            process.kill()


def answer(url: str, **headers: str) -> tuple[int, str]:
    """The status of an answer, and its text."""
    try:
        with urlopen(Request(url, headers=headers), timeout=60) as found:
            return int(found.status), found.read().decode()
    except HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def status(url: str, **headers: str) -> int:
    return answer(url, **headers)[0]


@pytest.mark.parametrize(
    ("given", "where"), (((), "http://127.0.0.1:"), (("--host", "::1"), "http://[::1]:"))
)
def test_it_serves_the_page_here_alone_until_it_is_interrupted(
    dsn: str, migrated: str, given: tuple[str, ...], where: str
) -> None:
    if given:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
    with served("--dsn", dsn, "--schema", migrated, *given) as (url, process):
        assert url.startswith(where)
        assert status(url) == status(f"{url}instances") == 200
        port = url.rstrip("/").rsplit(":", 1)[1]
        assert status(url, Host=f"localhost:{port}") == 200
        assert status(url, Host=f"evil.example:{port}") == 400
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=WAIT_SECONDS) == ("", "interrupted\n")
        assert process.returncode == 130


def test_a_name_may_be_given_and_an_open_address_is_warned_of(dsn: str, migrated: str) -> None:
    given = ("--host", "0.0.0.0", "--name", "ops.example", "--name", "*.internal")
    with served("--dsn", dsn, "--schema", migrated, *given) as (url, process):
        local = url.replace("0.0.0.0", "127.0.0.1")
        assert status(local) == 200
        assert status(local, Host="ops.example") == 200
        assert status(local, Host="a.internal") == 200
        assert status(local, Host="evil.example") == 400
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
        assert "the page has no authentication" in said
        names = "0.0.0.0, 127.0.0.1, localhost, ops.example, *.internal"
        assert f"it answers to {names}; give each other name or address by --name\n" in said


def test_an_address_that_cannot_be_had_says_what_to_give(
    dsn: str, migrated: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--dsn", dsn, "--schema", migrated, "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert "Address already in use" in said
    assert f"('127.0.0.1', {port})" in said
    assert said.endswith("; give another --host, or another --port, 0 for any\n")


def test_a_page_waits_five_seconds_for_the_server(dsn: str, migrated: str) -> None:
    with (
        served("--dsn", dsn, "--schema", migrated) as (url, _),
        psycopg.connect(dsn) as connection,
    ):
        connection.execute(f"LOCK TABLE {migrated}.workflow_instances".encode())
        code, text = answer(url)
    assert code == 503
    assert re.search(r">stats (did not end within|was ended after .* of its) 5 s: ", text)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("arguments", "message"),
    (
        (("--host", "here"), "argument --host: invalid ip_address value: 'here'"),
        (("--port", "x"), "argument --port"),
        (("--port", "65536"), "argument --port: 65536 is no port"),
        (("--port", "-1"), "argument --port: -1 is no port"),
        (("--name", "https://ops.example/"), "argument --name: 'https://ops.example/' is no name"),
        (("--name", "*"), "argument --name: '*' is no name"),
        (("--name", "o*.example"), "argument --name: 'o*.example' is no name"),
    ),
)
def test_a_wrong_argument_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.quick
def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hephaestus_pg.web.command.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        main([])
    assert "pip install 'hephaestus_pg[web]'" in capsys.readouterr().err


def test_a_schema_without_a_table_is_an_error_in_one_line(
    dsn: str, schema: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--dsn", dsn, "--schema", schema, "--port", "0"]) == 2
    assert f"there is no table workflow_instances in schema {schema!r}" in capsys.readouterr().err
