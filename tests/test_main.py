from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import hephaestus_pg
from hephaestus_pg.__main__ import main

pytestmark = pytest.mark.quick

COMMANDS = (
    *("list", "show", "stats", "stuck", "runners", "release"),
    *("web", "prune", "migrate", "demo"),
)


def test_the_help_names_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert f"{{{','.join(COMMANDS)}}}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", ((), ("--help",)))
def test_without_a_command_it_prints_the_help(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hephaestus_pg", *arguments],
        cwd=Path(hephaestus_pg.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("usage: python -m hephaestus_pg ")
    for command in COMMANDS:
        assert f"\n    {command} " in done.stdout


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"hephaestus_pg {version('hephaestus_pg')}\n"


def test_each_command_is_handed_the_arguments_after_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in COMMANDS:
        with pytest.raises(SystemExit) as caught:
            main([command, "--help"])
        assert caught.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: hephaestus-pg {command} ")


def test_the_arguments_are_the_processs_if_none_are_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["hephaestus-pg", "migrate", "sql"])
    assert main() == 0
    assert "CREATE TABLE" in capsys.readouterr().out


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["dance"])
    assert caught.value.code == 2
    assert "invalid choice: 'dance'" in capsys.readouterr().err


def test_migrate_is_handed_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "sql"]) == 0
    assert "CREATE TABLE" in capsys.readouterr().out
