from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import hephaestus_pg
from hephaestus_pg.cli import options
from hephaestus_pg.errors import HephaestusError

CODE = Path(hephaestus_pg.__file__).parents[1]


def raising(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "line"),
    (
        (HephaestusError("this\n  is wrong"), 2, "error: this is wrong\n"),
        (HephaestusError("at postgresql://u:secret@h/d"), 2, "error: at postgresql://u:***@h/d\n"),
        (HephaestusError("it is \x1b[2J\u202e"), 2, "error: it is \\x1b[2J\\u202e\n"),
        (OSError("no such file"), 2, "error: no such file\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ),
    ids=("ours", "password", "control", "system", "interrupt"),
)
def test_an_expected_error_is_one_line_without_a_password(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    assert options.exit_code(lambda: raising(error)) == code
    assert capsys.readouterr() == ("", line)


def test_an_unexpected_error_is_not_hidden_and_no_answer_of_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Python would exit with 1, by which ``stuck`` says that nothing is."""
    error = ZeroDivisionError("at postgresql://u:secret@h/d")
    assert options.exit_code(lambda: raising(error)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith("ZeroDivisionError: at postgresql://u:***@h/d\n")


def test_without_an_output_there_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert options.exit_code(lambda: int(sys.stdout.isatty())) == 0
    assert options.exit_code(lambda: raising(OSError("lost"))) == 2
    sys.stdout.close()
    sys.stderr.close()


def test_the_commands_answer_is_the_exit_code() -> None:
    assert options.exit_code(lambda: 1) == 1


DSN = "postgresql://u:secret@h/d"


@pytest.mark.parametrize(
    "arguments", ((DSN,), ("--dns", DSN), ("--flag", DSN), ("x\x1b[2J\n",)), ids=repr
)
def test_a_wrong_argument_is_one_line_without_a_password(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    parser = options.Parser()
    parser.add_argument("--flag", choices=["some"])
    with pytest.raises(SystemExit):
        parser.parse_args(arguments)
    said = capsys.readouterr().err
    assert "secret" not in said
    assert said.rstrip("\n").isprintable()


@pytest.mark.once
@pytest.mark.parametrize("unbuffered", ("", "1"), ids=("buffered", "unbuffered"))
@pytest.mark.parametrize("arguments", (("migrate", "sql"), ("migrate", "--help"), ()))
def test_output_that_nobody_reads_is_no_error(
    arguments: tuple[str, ...], *, unbuffered: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "hephaestus_pg", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        cwd=CODE,
    )
    assert process.stdout
    process.stdout.close()
    process.stdout = None
    _, said = process.communicate()
    assert said == b""
    # What argparse itself prints is lost without a word where it is not buffered.
    assert process.returncode == 141 or (unbuffered and "sql" not in arguments)


WRONG_DSN = ("list", "--dsn", "postgresql://h/d?sslmode=odd")


def without(stream: str, *arguments: str, unbuffered: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a command whose output, or whose errors, cannot be written: the disk is full."""
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Path("/dev/full").open("wb") as full:
        return subprocess.run(
            [sys.executable, "-m", "hephaestus_pg", *arguments],
            **{**streams, stream: full},
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            cwd=CODE,
            check=False,
        )


@pytest.mark.once
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("unbuffered", ("", "1"), ids=("buffered", "unbuffered"))
def test_output_that_cannot_be_written_is_an_error_in_one_line(unbuffered: str) -> None:
    ran = without("stdout", "migrate", "sql", unbuffered=unbuffered)
    assert (ran.returncode, ran.stderr) == (2, b"error: [Errno 28] No space left on device\n")
    for arguments in (("list", "--what"), WRONG_DSN):
        ran = without("stderr", *arguments, unbuffered=unbuffered)
        assert (ran.returncode, ran.stdout) == (2, b"")


@pytest.mark.parametrize(
    ("arguments", "code"), ((("--help",), 0), (("list", "--what"), 2), (WRONG_DSN, 2)), ids=str
)
@pytest.mark.parametrize("closed", (1, 2), ids=("stdout", "stderr"))
def test_without_an_output_there_are_help_and_errors(
    arguments: tuple[str, ...], code: int, closed: int
) -> None:
    command = (sys.executable, "-m", "hephaestus_pg", *arguments)
    ran = subprocess.run(
        ("/bin/sh", "-c", f'exec "$@" {closed}>&-', "sh", *command),
        cwd=CODE,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == code
    assert b"Traceback" not in ran.stderr


def test_the_version_is_the_releases(capsys: pytest.CaptureFixture[str]) -> None:
    parser = options.Parser()
    options.add_version_flag(parser)
    for flag in ("-V", "--version"):
        with pytest.raises(SystemExit) as caught:
            parser.parse_args([flag])
        assert caught.value.code == 0
        assert capsys.readouterr().out == f"hephaestus_pg {version('hephaestus_pg')}\n"


def test_a_wrong_argument_is_one_line_that_names_the_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        options.Parser(prog="it").parse_args(["--what"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: unrecognized arguments: --what (see it --help)\n"


def test_a_number_has_a_lower_bound() -> None:
    number = options.at_least(2)
    assert number("2") == 2
    with pytest.raises(argparse.ArgumentTypeError, match="1 is below 2"):
        number("1")


def test_warnings_are_shown_within_the_block_alone(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("hephaestus_pg.anything")
    with options.warnings_shown():
        logger.warning("look")
        logger.info("nothing")
        logger.warning("at %s", "x\x1b[2J\n")
    logger.warning("too late")
    assert capsys.readouterr().err == "look\nat x\\x1b[2J\\n\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    (
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (3.42, "3.4 s"),
        (59.9, "59.9 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (90_000, "1 d 1 h"),
        (-90, "-1 min 30 s"),
    ),
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert options.duration(seconds) == text


@pytest.mark.parametrize(
    ("answer", "expected"), (("y", True), (" YES ", True), ("n", False), ("", False), (None, False))
)
def test_only_a_yes_is_one(
    monkeypatch: pytest.MonkeyPatch, answer: str | None, expected: bool
) -> None:
    def asked(question: str) -> str:
        assert question == "do it? [y/N] "
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", asked)
    assert options.confirmed("do it?") is expected
