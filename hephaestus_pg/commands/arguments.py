"""The arguments of the commands: those that all of them take, and the filters of ``query``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, get_args
from uuid import UUID

from hephaestus_pg.cli import options
from hephaestus_pg.cli.moments import WHEN, moment
from hephaestus_pg.codec import exact_json
from hephaestus_pg.errors import InvalidValueError
from hephaestus_pg.values.instance import Status, checked_id
from hephaestus_pg.verbs.keyset import Order

if TYPE_CHECKING:
    from collections.abc import Sequence

_WATCHED = 2.0
"""Seconds between two looks of ``--watch``."""

_MOMENTS = ("inserted_before", "inserted_after", "updated_before", "updated_after", "due_before")


def add_looks(made: argparse.ArgumentParser) -> None:
    """Adds what the commands take that only look."""
    made.add_argument(
        "--all-schemas",
        action="store_true",
        help="every schema of the database with a table that this role may read",
    )
    output = made.add_argument_group("output")
    output.add_argument(
        "--json", action="store_true", help="one object a line, always with the same keys"
    )
    output.add_argument(
        "--watch",
        type=options.seconds,
        nargs="?",
        const=_WATCHED,
        metavar="SECONDS",
        help=f"look again and again, each {_WATCHED:g} seconds by default; ends by Ctrl-C",
    )


def add_filters(made: argparse.ArgumentParser) -> None:
    """Adds the filters of ``query``, under the same names."""
    group = made.add_argument_group("filters, all of which must hold")
    group.add_argument("--id")
    group.add_argument(
        "--status",
        action="append",
        choices=[each.value for each in Status],  # whose repr is shown where none is given
        metavar="STATUS",
        help=f"{', '.join(Status)}; may be given several times",
    )
    group.add_argument("--workflow", metavar="NAME")
    group.add_argument("--workflow-version", type=int, metavar="N")
    group.add_argument("--workflow-family", metavar="PREFIX", help="the beginning of its name")
    group.add_argument(
        "--contains",
        type=_json,
        metavar="JSON",
        help="""a part of the state: '{"context": {"initial": {"order_id": 1}}}'""",
    )
    group.add_argument(
        "--allow-scan",
        action="store_true",
        help="read every row for a --contains that no index serves",
    )
    for name in _MOMENTS:
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=moment,
            metavar="WHEN",
            help=WHEN if name == _MOMENTS[0] else None,
        )
    group.add_argument(
        "--runner",
        type=_token,
        metavar="TOKEN",
        default=argparse.SUPPRESS,  # since None means that nobody owns it
        help="who owns it; none: nobody",
    )


def filters(given: argparse.Namespace) -> dict[str, Any]:
    """Returns the filters that were given, as ``query`` takes them."""
    names = ("id", "workflow", "workflow_version", "workflow_family", "contains", *_MOMENTS)
    found = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    if given.status:
        found["status_in"] = given.status
    if given.allow_scan:
        found["allow_scan"] = True
    if "runner" in given:
        found["runner"] = given.runner
    return found


def add_page(made: argparse.ArgumentParser, *, order_by: Order, limit: int) -> None:
    """Adds the order of a list, its length, and where it begins; with their defaults."""
    group = made.add_argument_group("order and number")
    group.add_argument(
        "--order-by",
        choices=get_args(Order),
        default=order_by,
        metavar="COLUMN",
        help=f"{', '.join(get_args(Order))}: - is from the end; default: %(default)s",
    )
    group.add_argument(
        "--limit",
        type=options.at_least(0),
        default=limit,
        metavar="N",
        help="of each schema; 0: all; default: %(default)s",
    )
    group.add_argument(
        "--after",
        metavar="CURSOR",
        help="go on behind a row: the cursor is printed where there is more, and is in --json",
    )


def instance_id(text: str) -> str:
    """Parses an id, which is refused if no instance can have it; the type of an argument."""
    try:
        return checked_id(text)
    except InvalidValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def joined(argv: Sequence[str]) -> list[str]:
    """Returns the arguments with ``--order-by`` and an order that begins with ``-`` as one.

    argparse would take that for a flag.
    """
    found: list[str] = []
    for each in argv:
        if found and found[-1] == "--order-by" and each in get_args(Order):
            found[-1] += f"={each}"
        else:
            found.append(each)
    return found


def _json(text: str) -> Any:
    try:
        return exact_json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"it is not JSON: {error}") from None


def _token(text: str) -> UUID | None:
    try:
        return None if text == "none" else UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a runner's token nor none") from None
