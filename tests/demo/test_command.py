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
from hephaestus_pg.demo import command
from hephaestus_pg.demo.checks import STEPS
from tests.support.catalog import WAIT_SECONDS

CODE = Path(hephaestus_pg.__file__).parents[1]


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


@pytest.mark.parametrize("runners", (1, 2))
def test_orders_survive_three_kills(database: str, runners: int) -> None:
    sizes = ("--instances", "40", "--runners", str(runners), "--seed", "1")
    done = run_demo("--dsn", database, *sizes)
    assert done.stderr == ""
    assert done.returncode == 0
    lines = dict(line.split("  ", 1) for line in done.stdout.splitlines() if "  " in line.strip())
    table = {label.strip(): value.strip() for label, value in lines.items()}
    assert done.stdout.count("killed after") == 3
    assert table["orders completed"] == "40"
    assert table["runners killed"] == "3"
    assert int(table["writes"]) >= 40 * (1 + len(STEPS))
    assert table["updates refused"].partition(" ")[0].isdigit()  # how many is chance
    assert table["steps recorded in the table"] == str(40 * len(STEPS))
    assert table["every instance completed"] == "yes"
    assert table["no acknowledged step lost"] == "yes"
    assert table["no step acknowledged twice"] == "yes"
    assert table["no acknowledged step run again"] == "yes"


async def test_a_given_server_is_left_as_it_was(database: str) -> None:
    assert run_demo("--dsn", database, "--instances", "2", "--kills", "0").returncode == 0
    assert await demo_schemas(database) == []


def test_without_a_server_it_starts_its_own() -> None:
    done = run_demo("--instances", "3", "--kills", "1")
    assert done.stderr == ""
    assert done.returncode == 0
    assert "starting a PostgreSQL of our own" in done.stdout


async def test_an_interrupted_demo_takes_its_runner_and_schema_with_it(database: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hephaestus_pg", "demo", "--dsn", database),
        *("--instances", "500", "--kills", "40"),  # for long enough
        # A shell's background jobs, such as these tests may be, have it ignored.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        for text in (b"runner 1 killed", b" running"):
            while text not in (line := await process.stdout.readline()):
                assert line
        process.send_signal(signal.SIGINT)
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 130
    assert said == b"interrupted\n"
    assert await demo_schemas(database) == []


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
        [sys.executable, "-m", "hephaestus_pg", "demo", "--dsn", database, "--instances", "2"],
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
    assert command.main(["--dsn", database, "--instances", "1"]) == 2
    assert capsys.readouterr().err == "error: runner 1 ended with exit code 1\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    (
        (["--instances", "0"], "0 is below 1"),
        (["--kills", "many"], "invalid number value: 'many'"),
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
