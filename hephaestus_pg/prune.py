"""``python -m hephaestus_pg prune``: deletes instances that finished long ago, once confirmed.

::

    python -m hephaestus_pg prune --finished-before 30d
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from hephaestus_pg.cli import options
from hephaestus_pg.cli.moments import WHEN, moment
from hephaestus_pg.cli.storages import opened
from hephaestus_pg.cli.terminal import printable, progress
from hephaestus_pg.verbs.bulk import CHUNK_ROWS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m hephaestus_pg prune") -> int:
    """Runs the command with ``argv`` (default: the process's) and gives its exit code."""
    parser = options.command_parser(
        prog,
        "Delete the completed and failed instances that were last written long ago.",
        examples=("--finished-before 30d --dry-run", "--finished-before 30d --workflow Order"),
        yes="done, or there was nothing to do",
        no="the answer was no",
    )
    parser.add_argument(
        "--finished-before",
        type=moment,
        required=True,
        metavar="WHEN",
        help=WHEN,
    )
    parser.add_argument("--workflow", metavar="NAME", help="only of this workflow")
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
    with options.warnings_shown():
        return options.exit_code(lambda: _prune(arguments))


def _prune(arguments: argparse.Namespace) -> int:
    found = asyncio.run(_run(arguments, dry_run=True))
    of = "" if arguments.workflow is None else f" of {printable(arguments.workflow)}"
    print(
        f"schema {arguments.schema}: {_counted(found)}{of} finished and last written before "
        f"{arguments.finished_before:%Y-%m-%d %H:%M:%S} UTC",
        flush=True,
    )
    if arguments.dry_run or not found:
        return 0
    if not (arguments.yes or options.confirmed("delete them?")):
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
    where = opened(
        arguments.dsn,
        arguments.schema,
        timeout=arguments.timeout,
        pgbouncer=arguments.pgbouncer,
    )
    async with where as storage:
        return await storage.prune(
            finished_before=arguments.finished_before,
            workflow=arguments.workflow,
            dry_run=dry_run,
            batch_size=arguments.batch_size,
            progress=show,
        )


def _counted(number: int) -> str:
    return f"{number:,} instance{'s' * (number != 1)}"


if __name__ == "__main__":
    sys.exit(main())
