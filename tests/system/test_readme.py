"""What the README shows is run, so that it stays true."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hephaestus_pg import (
    AsyncStorage,
    Names,
    Serializer,
    Status,
    migrations,
)
from tests.codec.test_elixir import ROWS as RUNTIME_ROWS

README = Path(__file__).parents[2] / "README.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="there is no README beside these tests")


def blocks(language: str) -> list[str]:
    text = README.read_text(encoding="utf-8") if README.exists() else ""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def run(*arguments: str, dsn: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"HEPHAESTUS_PG_DSN": dsn},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


async def test_the_runner_runs_and_may_be_started_again(database: str) -> None:
    await migrations.up(database)
    [runner] = [block for block in blocks("python") if "asyncio.run" in block]
    for _ in range(2):
        done = run("-c", runner, dsn=database)
        assert (done.returncode, done.stderr) == (0, "")
    async with AsyncStorage.start(database, references=Names()) as storage:
        assert await storage.count(status=Status.COMPLETED) == 2


async def test_the_examples_run_one_after_the_other(database: str) -> None:
    await migrations.up(database)
    names = {"dsn": database}
    for block in blocks("python"):
        if "asyncio.run" not in block:
            code = compile(block, str(README), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            running = eval(code, names)
            if inspect.isawaitable(running):
                await running


@pytest.mark.parametrize("row", RUNTIME_ROWS, ids=lambda row: row[0])
def test_the_classes_for_a_mixed_team_read_what_its_runtime_wrote(row: Any) -> None:
    [block] = [block for block in blocks("python") if "Hephaestus.Steps" in block]
    names: dict[str, Any] = {}
    exec(block, names)
    serializer = Serializer(names["references"])

    instance = serializer.from_db(*row)

    assert instance.workflow is names["Order"]
    assert [*serializer.to_db(instance)] == row


def commands(module: str) -> list[list[str]]:
    """The arguments of those commands that run this module of the package."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    found = [shlex.split(line) for line in lines if line.startswith(f"python -m {module} ")]
    return [command[1:] for command in found]


def test_the_migration_commands_do_what_they_say(database: str, tmp_path: Path) -> None:
    given = commands("hephaestus_pg.migrate")
    assert len(given) == 6
    for command in given:
        done = run(*command, dsn=database, cwd=tmp_path)
        assert done.stderr == ""
        assert done.returncode == (1 if "status" in command else 0)


async def test_the_other_commands_do_what_they_say(database: str, tmp_path: Path) -> None:
    await migrations.up(database)
    given = commands("hephaestus_pg")
    assert len(given) == 2
    for command in given:
        done = run(*command, dsn=database, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_one_line_commands_make_their_own_environment() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if "venv" in line]
    assert len(lines) == 2
    assert lines[0].endswith(".venv/bin/python -m hephaestus_pg demo")
    assert lines[1].endswith(".venv/bin/python -m pytest -n 2")
    for line in lines:
        assert line.startswith("python3 -m venv .venv && ")
