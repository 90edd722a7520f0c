"""What the commands share: flags, how long something took, and an error as one line."""

from __future__ import annotations

import argparse
import logging
import sys
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NoReturn

from hephaestus_pg.dsn.masking import without_password
from hephaestus_pg.errors import HephaestusError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAILED = 2
"""The exit code of an error, as argparse has it; 1 is a command's own answer, such as "pending"."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all others."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments, and exit."""
        self.exit(FAILED, f"error: {message} (see {self.prog} --help)\n")


def dsn_flag() -> Parser:
    """``--dsn``, as a parent of a command's parser."""
    parser = Parser(add_help=False)
    parser.add_argument(
        "--dsn",
        metavar="D",
        help="the database; default: HEPHAESTUS_PG_DSN, else the PG* variables",
    )
    return parser


def schema_flag() -> Parser:
    """``--schema``, as a parent of a command's parser."""
    parser = Parser(add_help=False)
    parser.add_argument("--schema", metavar="S", default="public", help="default: %(default)s")
    return parser


def add_version_flag(parser: argparse.ArgumentParser) -> None:
    """``-V``: the release of this package."""
    try:
        release = version("hephaestus_pg")
    except PackageNotFoundError:  # a checkout that is not installed
        release = "(not installed)"
    parser.add_argument("-V", "--version", action="version", version=f"hephaestus_pg {release}")


def at_least(low: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number from ``low`` on."""

    def number(text: str) -> int:
        if int(text) < low:
            raise argparse.ArgumentTypeError(f"{text} is below {low}")
        return int(text)

    return number


@contextmanager
def warnings_shown() -> Iterator[None]:
    """While it lasts, the package's warnings go to stderr, a line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    logger = logging.getLogger("hephaestus_pg")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def exit_code(command: Callable[[], int]) -> int:
    """Run ``command``; what goes wrong in a way that we know is one line on stderr."""
    try:
        return command()
    except (HephaestusError, OSError) as error:
        line = " ".join(without_password(str(error)).split())
        print(f"error: {line}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def duration(seconds: float) -> str:
    """A duration as a reader wants it: ``12 ms``, ``3.4 s``, ``5 min 10 s``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
