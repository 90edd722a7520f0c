from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from hephaestus_pg import EmbeddedServerError
from hephaestus_pg.embedded import EmbeddedServer
from tests.support.embedded import ask, wait_until_gone

pytestmark = pytest.mark.once


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


def test_a_data_folder_in_use_is_left_to_the_server_that_has_it() -> None:
    """As of an application in development that is started twice."""
    data = Path(f"/tmp/hephaestus_pg-test-{os.getpid()}")
    try:
        with EmbeddedServer(data=data) as server:
            with pytest.raises(EmbeddedServerError, match="Is another postmaster"):
                EmbeddedServer(data=data).start()
            assert (data / "postmaster.pid").exists()  # without it the server would soon end
            assert ask(server, "SELECT 42") == "42"
    finally:
        shutil.rmtree(data)


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


START_AND_REPORT = """
import os, sys, time
from hephaestus_pg.embedded import EmbeddedServer
server = EmbeddedServer(settings={"fsync": "off"})
server.start()
print(server.pid, server._cluster.home, flush=True)
"""


# As a worker does that nobody joins; it ends when the test closes its input.
FORK = """
if not os.fork():
    os.close(1)
    os.read(0, 1)
    os._exit(0)
"""
KILL = "os.kill(os.getpid(), 9)"


@pytest.mark.parametrize(
    ("last_words", "expected"),
    (
        ("", 0),
        ("raise SystemExit(3)", 3),
        (KILL, -signal.SIGKILL),
        (FORK, 0),
        (FORK + KILL, -signal.SIGKILL),
    ),
    ids=("end", "exit", "SIGKILL", "end before a fork does", "SIGKILL before a fork ends"),
)
def test_the_server_does_not_outlive_its_process(last_words: str, expected: int) -> None:
    script = [sys.executable, "-c", START_AND_REPORT + last_words]
    with subprocess.Popen(
        script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid, home = process.stdout.readline().split()
        try:
            assert process.wait(60) == expected
            wait_until_gone(int(pid), Path(home))
        finally:
            process.kill()


def test_a_fork_that_ends_leaves_the_server_to_its_parent() -> None:
    script = """
child = os.fork()
if not child:
    raise SystemExit(3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
os.kill(server.pid, 0)
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", START_AND_REPORT + script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
