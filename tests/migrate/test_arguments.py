from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

import hephaestus_pg
from hephaestus_pg import (
    migrate,
)
from hephaestus_pg.cli import options

if TYPE_CHECKING:
    from tests.support.commands import Run


@pytest.mark.parametrize(
    "arguments",
    (
        ("up", "--dsn", "postgresql://user:secret@127.0.0.1:1/none"),
        ("status", "--dsn", "postgresql://127.0.0.1:1/none?user=user&password=secret"),
        ("version", "--dsn", "postgresql://user:secret@[bad/none"),
        ("version", "--dsn", "postgresql://user:secret@host:port/none"),
        ("version", "--dsn", "mysql://user:secret@host/none"),
        ("up", "--version", "99"),
        ("up", "--version", "two"),
        ("sql", "down"),
        ("gen", "--format", "cobol"),
        ("index", "some"),
        ("sideways",),
        (),
    ),
)
def test_an_error_is_one_line_without_a_password(run: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments, where=None)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "secret" not in err
    assert "Traceback" not in err


def test_without_an_installation_the_release_is_unknown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(options, "version", Mock(side_effect=PackageNotFoundError))
    with pytest.raises(SystemExit):
        migrate.main(["-V"])
    assert capsys.readouterr().out == "hephaestus_pg (not installed)\n"


@pytest.mark.parametrize("module", ("prune", "demo"))
def test_the_other_commands_run_as_modules_too(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", f"hephaestus_pg.{module}", "--dsn"],
        cwd=Path(hephaestus_pg.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: argument --dsn: expected one argument (see python -m ")


def test_running_hephaestus_pg_migrations_says_what_to_type() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hephaestus_pg.migrations", "up"],
        cwd=Path(hephaestus_pg.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "run python -m hephaestus_pg.migrate" in done.stderr


@pytest.mark.parametrize("flag", ("-V", "--version"))
def test_it_runs_as_a_module_without_a_warning(flag: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "hephaestus_pg.migrate", flag],
        cwd=Path(hephaestus_pg.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"hephaestus_pg \S.*\n", done.stdout)


def test_after_a_command_version_is_that_of_the_schema(run: Run) -> None:
    assert run("up", "--version", "1")[0] == 0
    assert run("version")[1] == "1\n"
