"""``python -m hephaestus_pg list``: instances, the newest first.

::

    python -m hephaestus_pg list --status failed --updated-after 1d
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from hephaestus_pg.cli import options
from hephaestus_pg.cli.moments import since
from hephaestus_pg.commands import arguments
from hephaestus_pg.commands.looking import Look, run, table
from hephaestus_pg.commands.owners import Owners, plain
from hephaestus_pg.verbs.keyset import MAX_ROWS

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from hephaestus_pg.storage import AsyncStorage
    from hephaestus_pg.values.summary import Summary
    from hephaestus_pg.verbs.keyset import Order

_LIMIT = 50


class Listed(NamedTuple):
    """An instance, who may own it, and the place from which a list goes on behind it."""

    summary: Summary
    owners: Owners
    cursor: str | None
    """``None`` where the moment that decides is none that Python knows."""


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m hephaestus_pg list") -> int:
    """Runs the command with ``argv`` (default: the process's) and gives its exit code."""
    parser = options.command_parser(
        prog,
        "List instances, the newest first, without reading their states.",
        examples=(
            "--status failed --updated-after 1d",
            "--runner none --due-before 0s --json",
        ),
        yes="some",
        no="none",
    )
    arguments.add_filters(parser)
    arguments.add_page(parser, order_by="-inserted_at", limit=_LIMIT)
    arguments.add_looks(parser)
    given = parser.parse_args(arguments.joined(sys.argv[1:] if argv is None else argv))
    if given.after is not None and given.all_schemas:
        parser.error("--after is a place in one schema; leave out --all-schemas")
    return run(LOOK, given)


async def _find(
    storage: AsyncStorage, given: argparse.Namespace, remarks: list[str]
) -> AsyncIterator[Listed]:
    owners = await Owners.of(storage)
    rest = given.limit or None
    last: Listed | None = None
    # One more than is shown tells whether there is more.
    async for summary in storage.summaries(
        order_by=given.order_by,
        limit=rest and min(rest + 1, MAX_ROWS),
        after=given.after,
        **arguments.filters(given),
    ):
        if rest == 0:
            assert last is not None
            where = f"schema {storage.schema}: " if given.all_schemas else ""
            after = f"--after {last.cursor}" if last.cursor else "another --limit"
            remarks.append(f"{where}more with {after}")
            return
        last = Listed(summary, owners, _cursor(storage, summary, given.order_by))
        yield last
        rest = rest and rest - 1


def _cursor(storage: AsyncStorage, summary: Summary, order_by: Order) -> str | None:
    column = order_by.removeprefix("-")
    return getattr(summary, column) and storage.cursor(summary, order_by=order_by)


def _plain(found: Listed) -> dict[str, Any]:
    return {**plain(found.summary, found.owners), "cursor": found.cursor}


@contextmanager
def _printed(given: argparse.Namespace) -> Iterator[Callable[[str, Listed], None]]:
    names = ("id", "workflow", "status", "step", "updated", "owner")
    long = {"id", "workflow", "step", "owner"}
    with table(given, *names, long=long, numbers={"updated"}, states={"status"}) as add:

        def show(schema: str, found: Listed) -> None:
            each, owners = found.summary, found.owners
            add(
                schema,
                each.id,
                each.workflow,
                each.status,
                each.current_step or "",
                since(each.updated_at, owners.now),
                owners.short(each.runner),
            )

        yield show


LOOK = Look(find=_find, plain=_plain, printed=_printed, nothing=lambda _: "no instance matches")
