from __future__ import annotations

import asyncio
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import asyncpg
import pytest

import hephaestus_pg
from hephaestus_pg.demo import checks, command
from hephaestus_pg.demo.checks import STEPS
from tests.support.catalog import WAIT_SECONDS

pytestmark = pytest.mark.once

CODE = Path(hephaestus_pg.__file__).parents[1]

QUIET = ("--kills", "0", "--freezes", "0")


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hephaestus_pg", "demo", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


async def demo_schemas(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'hephaestus_demo_%'"
        )
    finally:
        await connection.close()
    return [row["nspname"] for row in rows]


@pytest.mark.parametrize(
    ("runners", "kills", "freezes"), ((3, 2, 1), (1, 1, 0)), ids=("three", "one alone")
)
def test_orders_survive_runners_that_are_killed_and_frozen(
    database: str, runners: int, kills: int, freezes: int
) -> None:
    done = run_demo(
        *("--dsn", database, "--instances", "40", "--runners", str(runners), "--seed", "1"),
        *("--kills", str(kills), "--freezes", str(freezes)),
    )
    assert done.stderr == ""
    assert done.returncode == 0
    lines = dict(line.split("  ", 1) for line in done.stdout.splitlines() if "  " in line.strip())
    table = {label.strip(): value.strip() for label, value in lines.items()}
    assert done.stdout.count("killed after") == kills
    assert done.stdout.count("frozen after") == freezes
    assert table["orders completed"] == "40"
    assert table["runners killed"] == str(kills)
    assert table["runners frozen past their lease"] == str(freezes)
    assert table["runners too slow for their lease"].isdigit()  # the machine's affair
    assert int(table["orders taken over"]) > 0
    assert re.fullmatch(r"\d+\.\d s, with a lease of 2 s", table["longest wait for a new owner"])
    assert int(table["writes"]) == 40 * (1 + len(STEPS) + 1)
    assert table["steps recorded in the table"] == str(40 * len(STEPS))
    assert int(table["effects that the witness took"]) >= 40 * len(STEPS)
    assert table["effects that it refused as too late"].isdigit()  # how many is chance
    assert table["steps run by two owners at once"] == "0"
    assert table["every instance completed"] == "yes"
    assert table["no acknowledged step lost"] == "yes"
    assert table["no step acknowledged twice"] == "yes"
    assert table["no acknowledged step run again"] == "yes"
    assert table["no step run by two owners at once"] == "yes"


async def test_a_given_server_is_left_as_it_was(database: str) -> None:
    assert run_demo("--dsn", database, "--instances", "2", *QUIET).returncode == 0
    assert await demo_schemas(database) == []


def test_without_a_server_it_starts_its_own() -> None:
    done = run_demo("--instances", "3", *QUIET)
    assert done.stderr == ""
    assert done.returncode == 0
    assert "starting a PostgreSQL of our own" in done.stdout


@pytest.mark.parametrize("sent", (signal.SIGINT, signal.SIGTERM))
async def test_an_interrupted_demo_takes_its_runners_and_schema_with_it(
    database: str, sent: signal.Signals
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hephaestus_pg", "demo", "--dsn", database),
        *("--instances", "5000", "--kills", "0", "--freezes", "80", "--lease", "60", "--seed", "1"),
        # A shell's background jobs, such as these tests may be, have it ignored.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        while b"frozen after" not in (line := await process.stdout.readline()):
            assert line
        assert await connections(database) >= 3  # a heartbeat for each runner
        process.send_signal(sent)
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 130
    assert said == b"interrupted\n"
    assert await demo_schemas(database) == []
    async with asyncio.timeout(WAIT_SECONDS):
        while await connections(database):  # a runner that is left keeps its own, a frozen one too
            await asyncio.sleep(0.01)


async def connections(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        return found
    finally:
        await connection.close()


async def test_it_ends_quietly_when_nobody_reads_on(database: str) -> None:
    demo = shlex.join([sys.executable, "-m", "hephaestus_pg", "demo", "--dsn", database])
    done = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-c", f"{demo} | head -n 1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_SECONDS,
    )
    assert done.stderr == ""
    assert done.stdout == "     0 of 1000 steps\n141\n"
    assert await demo_schemas(database) == []


@pytest.mark.parametrize("narrow", ({"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}))
def test_a_narrow_terminal_gets_narrow_lines(database: str, narrow: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "hephaestus_pg",
            "demo",
            "--dsn",
            database,
            "--instances",
            "2",
            *QUIET,
        ],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": "40", **narrow},
        cwd=CODE,
    )
    os.close(theirs)
    shown = read_all(ours)
    assert process.wait(WAIT_SECONDS) == 0
    assert re.findall(r"\x1b\[(?:\d+;)*[349]\d", shown) == []  # a colour
    assert ("\x1b" in shown) == (narrow["TERM"] != "dumb")
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n").split("\n")
    # A command stays whole, to be copied.
    too_long = [line for line in lines if len(line) > 40 and "python -m" not in line]
    assert too_long == []
    assert "yes" in shown


def read_all(terminal: int) -> str:
    """All that is written to the terminal until its last writer ends."""
    shown = b""
    with suppress(OSError):  # as Linux tells the end
        while chunk := os.read(terminal, 10_000):
            shown += chunk
    os.close(terminal)
    return shown.decode()


def test_a_runner_that_fails_is_an_error(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    assert command.main(["--dsn", database, "--instances", "1", "--runners", "1"]) == 2
    assert capsys.readouterr().err == "error: runner 1 ended with exit code 1\n"


def test_a_broken_promise_is_the_exit_code(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checks, "acknowledged_again", lambda acknowledged: acknowledged[:1])
    assert command.main(["--dsn", database, "--instances", "1", *QUIET]) == 1
    assert "no: 1, such as" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    (
        (["--instances", "0"], "0 is below 1"),
        (["--freezes", "many"], "invalid number value: 'many'"),
        (["--dsn", "postgresql://someone:secret@127.0.0.1:1/x"], "no connection to PostgreSQL"),
    ),
    ids=("too few", "not a number", "no server"),
)
def test_what_is_wrong_is_one_line_on_stderr(arguments: list[str], said: str) -> None:
    done = run_demo(*arguments)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert said in line
    assert "secret" not in line
