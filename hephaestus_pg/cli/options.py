"""Flags, exit codes and one-line errors, the same for every command."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import traceback
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from hephaestus_pg.cli.terminal import printable
from hephaestus_pg.dsn.masking import without_password
from hephaestus_pg.errors import HephaestusError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FAILED = 2
"""The exit code of an error, as in argparse; 1 is a command's own answer, such as "pending"."""

TIMEOUT = 30.0
"""Seconds that a statement may take, unless a command is told otherwise."""

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 and the number of SIGINT, as shells report it."""

PIPE_CLOSED = 141
"""The exit code when nobody reads the output any longer: 128 and the number of SIGPIPE."""

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


class Parser(argparse.ArgumentParser):
    """A parser that reports a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        """Prints the message to stderr, without a password that it may quote, and exits."""
        self.exit(FAILED, f"error: {one_line(message)} (see {self.prog} --help)\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Exits once the help is written, quietly if nobody reads it."""
        self._print_message(message or "", sys.stderr)
        _write_out(sys.stderr)
        super().exit(_write_out(sys.stdout) or status)


def command_parser(
    prog: str, description: str, *, examples: Sequence[str], yes: str, no: str
) -> Parser:
    """Makes the parser of a command, with the flags for the database and the timeout.

    ``yes`` and ``no`` say in its help when its exit code is 0, and when it is 1.
    """
    shown = "".join(f"\n  {prog} {example}".rstrip() for example in examples)
    parser = Parser(
        prog=prog,
        description=description,
        epilog=f"for example:{shown}\n\nexit code:\n  0  {yes}\n  1  {no}\n  2  an error",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[dsn_flag(), schema_flag(), pgbouncer_flag()],
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=TIMEOUT,
        metavar="SECONDS",
        help="how long a statement may take; default: %(default)g",
    )
    return parser


def dsn_flag() -> Parser:
    """Makes ``--dsn``, as a parent of a command's parser."""
    parser = Parser(add_help=False)
    parser.add_argument(
        "--dsn",
        metavar="D",
        help="the database; default: HEPHAESTUS_PG_DSN, else the PG* variables",
    )
    return parser


def schema_flag() -> Parser:
    """Makes ``--schema``, as a parent of a command's parser."""
    parser = Parser(add_help=False)
    parser.add_argument("--schema", metavar="S", default="public", help="default: %(default)s")
    return parser


def pgbouncer_flag() -> Parser:
    """Makes ``--pgbouncer``, as a parent of a command's parser."""
    parser = Parser(add_help=False)
    parser.add_argument(
        "--pgbouncer",
        action="store_true",
        help="the database is that of PgBouncer in transaction mode",
    )
    return parser


def add_version_flag(parser: argparse.ArgumentParser) -> None:
    """Adds ``-V`` and ``--version``, which print the release of this package."""
    try:
        release = version("hephaestus_pg")
    except PackageNotFoundError:  # a checkout that is not installed
        release = "(not installed)"
    parser.add_argument("-V", "--version", action="version", version=f"hephaestus_pg {release}")


def at_least(low: int) -> Callable[[str], int]:
    """Makes the argparse type of a whole number from ``low`` on."""

    def number(text: str) -> int:
        if int(text) < low:
            raise argparse.ArgumentTypeError(f"{text} is below {low}")
        return int(text)

    return number


def seconds(text: str) -> float:
    """Parses a number of seconds, a day at the most; the type of an argument."""
    try:
        if 0.1 <= (found := float(text)) <= 86_400:  # noqa: PLR2004 - up to a day
            return found
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0.1 to 86400")


class _OneLine(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return printable(record.message)


@contextmanager
def warnings_shown() -> Iterator[None]:
    """Sends the package's warnings to stderr, a line each, while the block runs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_OneLine())
    logger = logging.getLogger("hephaestus_pg")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def exit_code(command: Callable[[], int]) -> int:
    """Runs ``command`` and gives its exit code; an expected error becomes one line on stderr.

    Output that cannot be written is an error too, and so is what nobody expected, with its
    traceback: neither looks like the command's own answer.
    """
    line = ""
    try:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:  # it was closed, as a scheduler may do
                setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - as long as we run
            elif isinstance(stream, io.TextIOWrapper):
                # A text that the locale has no letters for is shown all the same.
                stream.reconfigure(errors="backslashreplace")
        code = command()
        sys.stdout.flush()
    except BrokenPipeError:  # of the output: a connection's is a HephaestusError
        code = PIPE_CLOSED
    except (HephaestusError, OSError) as error:
        code, line = FAILED, f"error: {one_line(error)}"
    except KeyboardInterrupt:
        code, line = INTERRUPTED, "interrupted"
    except Exception:  # noqa: BLE001 - Python would exit with 1, which is "nothing is stuck"
        code, line = FAILED, without_password(traceback.format_exc()).rstrip()
    if line:
        with suppress(OSError):
            print(line, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        _write_out(stream)
    return code


def one_line(error: BaseException | str) -> str:
    """Returns a message in a line without a password, and without what steers a terminal."""
    return printable(" ".join(without_password(str(error)).split()))


def confirmed(question: str) -> bool:
    """Asks a person, who has to say yes."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        print()
        return False


def _write_out(stream: TextIO | None) -> int:
    """Writes out a stream, and returns the exit code of its failure; 0 if there was none."""
    if stream is None:
        return 0
    try:
        stream.flush()
    except OSError as error:
        # The interpreter flushes once more at its end, and would complain.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return PIPE_CLOSED if isinstance(error, BrokenPipeError) else FAILED
    return 0


def duration(seconds: float) -> str:
    """Formats a duration for a reader: ``12 ms``, ``3.4 s``, ``5 min 10 s``, ``1 d 2 h``."""
    sign, seconds = "-" * (seconds < 0), abs(seconds)
    if seconds < 1:
        return f"{sign}{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{sign}{seconds:.1f} s"
    at = next(i for i, (size, _) in enumerate(_UNITS) if seconds >= size)
    (size, unit), (small, below) = _UNITS[at : at + 2]
    return f"{sign}{seconds // size:.0f} {unit} {seconds % size // small:.0f} {below}"
