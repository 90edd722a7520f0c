"""``python -m hephaestus_pg stuck``: the instances that do not go on, and why.

::

    python -m hephaestus_pg stuck --older-than 1h; [ $? -eq 1 ] || alert

That alerts where something is stuck, and where the command failed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from hephaestus_pg.cli import options
from hephaestus_pg.cli.moments import age, since, span
from hephaestus_pg.commands import arguments
from hephaestus_pg.commands.looking import Look, run, table
from hephaestus_pg.commands.owners import Owners, plain
from hephaestus_pg.inspect.looking import STUCK_AFTER

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from hephaestus_pg.inspect.findings import Stuck
    from hephaestus_pg.storage import AsyncStorage

_DESCRIPTION = """\
List the instances that do not go on, the longest stuck first. The reasons:
  exhausted   too many attempts failed: nobody is given it until it is released
              or written
  orphaned    its owner is dead, and no runner has taken over
  unclaimed   it could be claimed, and no runner does
  silent      its owner lives, and has not written it
What waits for something to be written is not stuck, for as long as that
takes."""


class Found(NamedTuple):
    """An instance that is stuck, and who may own it."""

    stuck: Stuck
    owners: Owners


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m hephaestus_pg stuck") -> int:
    """Runs the command with ``argv`` (default: the process's) and gives its exit code."""
    parser = options.command_parser(
        prog,
        _DESCRIPTION,
        examples=("--older-than 1h; [ $? -eq 1 ] || alert", "--all-schemas --json"),
        yes="some are stuck",
        no="none is",
    )
    parser.add_argument(
        "--older-than",
        type=age,
        default=STUCK_AFTER,
        metavar="AGE",
        help=f"for how long, such as 90s, 1h or 2d; default: {span(STUCK_AFTER)}",
    )
    parser.add_argument(
        "--limit",
        type=options.at_least(1),
        default=100,
        metavar="N",
        help="of each schema; default: %(default)s",
    )
    arguments.add_looks(parser)
    return run(LOOK, parser.parse_args(argv))


async def _find(
    storage: AsyncStorage, given: argparse.Namespace, _remarks: list[str]
) -> AsyncIterator[Found]:
    owners = await Owners.of(storage)
    for each in await storage.stuck(older_than=given.older_than, limit=given.limit):
        yield Found(each, owners)


def _plain(found: Found) -> dict[str, Any]:
    stuck = found.stuck
    return {
        **plain(stuck.summary, found.owners),
        "reason": stuck.reason,
        "since": stuck.since and stuck.since.isoformat(),
    }


@contextmanager
def _printed(given: argparse.Namespace) -> Iterator[Callable[[str, Found], None]]:
    names = ("id", "workflow", "status", "reason", "since", "owner")
    long = {"id", "workflow", "owner"}
    with table(given, *names, long=long, numbers={"since"}, states={"reason"}) as add:

        def show(schema: str, found: Found) -> None:
            stuck, owners = found
            add(
                schema,
                stuck.summary.id,
                stuck.summary.workflow,
                stuck.summary.status,
                stuck.reason,
                since(stuck.since, owners.now),
                owners.short(stuck.summary.runner),
            )

        yield show


LOOK = Look(find=_find, plain=_plain, printed=_printed, nothing=lambda _: "nothing is stuck")
