"""``python -m hephaestus_pg prune``: deletes instances that finished long ago, once confirmed.

::

    python -m hephaestus_pg prune --finished-before 30d
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hephaestus_pg.cli import options
from hephaestus_pg.cli.terminal import progress
from hephaestus_pg.errors import MigrationError, SchemaOutdatedError
from hephaestus_pg.storage import AsyncStorage
from hephaestus_pg.values.references import Names
from hephaestus_pg.verbs.bulk import CHUNK_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_AGE = re.compile(r"(\d+)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m hephaestus_pg prune") -> int:
    """Runs the command with ``argv`` (default: the process's) and gives its exit code.

    0: done, or there was nothing to do; 1: the answer was no; 2: an error, on stderr.
    """
    parser = options.Parser(
        prog=prog,
        description="Delete the completed and failed instances that were last written long ago.",
        parents=[options.dsn_flag(), options.schema_flag()],
    )
    parser.add_argument(
        "--finished-before",
        type=_moment,
        required=True,
        metavar="WHEN",
        help="an age, such as 90m, 12h, 30d or 8w, or a moment, such as 2026-01-31T12:00Z",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say how many there are")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--batch-size",
        type=options.at_least(1),
        default=CHUNK_ROWS,
        metavar="N",
        help="how many to delete in one transaction; default: %(default)s",
    )
    arguments = parser.parse_args(argv)
    if not (arguments.yes or arguments.dry_run or sys.stdin.isatty()):
        parser.error("there is no terminal to ask on; give --yes, or --dry-run")
    return options.exit_code(lambda: _prune(arguments))


def _moment(text: str) -> datetime:
    """Parses an age, counted back from now, or a moment; one without a zone is in UTC."""
    try:
        if age := _AGE.fullmatch(text):
            return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
        given = datetime.fromisoformat(text)
        return given.astimezone(UTC) if given.tzinfo else given.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither an age such as 30d nor a moment such as 2026-01-31"
        ) from None


def _prune(arguments: argparse.Namespace) -> int:
    found = asyncio.run(_run(arguments, dry_run=True))
    print(
        f"schema {arguments.schema}: {_counted(found)} finished and last written before "
        f"{arguments.finished_before:%Y-%m-%d %H:%M:%S} UTC",
        flush=True,
    )
    if arguments.dry_run or not found:
        return 0
    if not (arguments.yes or _confirmed()):
        print("nothing is deleted")
        return 1
    with progress(found, "instances") as view:
        deleted = asyncio.run(_run(arguments, show=lambda done: view.show(done, "deleted")))
    print(f"schema {arguments.schema}: {_counted(deleted)} deleted")
    return 0


async def _run(
    arguments: argparse.Namespace,
    *,
    dry_run: bool = False,
    show: Callable[[int], object] | None = None,
) -> int:
    try:
        storage = await AsyncStorage.start(
            arguments.dsn, schema=arguments.schema, references=Names(), max_size=1
        )
    except SchemaOutdatedError as error:
        if error.found == 0:
            where = f"no table workflow_instances in schema {arguments.schema!r}"
            raise MigrationError(
                arguments.schema, f"there is {where}; look at --schema and --dsn"
            ) from error
        raise
    async with storage:
        return await storage.prune(
            finished_before=arguments.finished_before,
            dry_run=dry_run,
            batch_size=arguments.batch_size,
            progress=show,
        )


def _counted(number: int) -> str:
    return f"{number:,} instance{'s' * (number != 1)}"


def _confirmed() -> bool:
    try:
        return input("delete them? [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        print()
        return False


if __name__ == "__main__":
    sys.exit(main())
