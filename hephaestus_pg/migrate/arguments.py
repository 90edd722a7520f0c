"""The arguments of each command: one function a command."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from hephaestus_pg import migrations
from hephaestus_pg.cli import options

_Add = Callable[..., options.Parser]
"""Adds the parser of a command: ``add_parser`` of argparse."""


def parser(prog: str) -> options.Parser:
    """Makes the parser; what it parses carries the command's name as ``command``."""
    parser = options.Parser(prog=prog, description="Bring a schema to a version.")
    options.add_version_flag(parser)
    commands = parser.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND"
    )
    for command in (
        _up,
        _down,
        _status,
        _version,
        _index,
        _distribute,
        _undistribute,
        _sql,
        _gen,
    ):
        command(commands.add_parser)
    return parser


def _up(add: _Add) -> None:
    parser = add("up", parents=[*_database(), _wait(), _origin()], help="apply what is missing")
    parser.add_argument(
        "--version", type=int, metavar="N", help="the last to apply; default: latest"
    )
    parser.add_argument(
        "--online",
        action=argparse.BooleanOptionalAction,
        help="slower, but readers and writers go on; default: if the table is large",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only list the steps, with their locks and about how long they take; exit 1 if there "
        "are any",
    )


def _down(add: _Add) -> None:
    parser = add(
        "down",
        parents=[*_database(), _wait(), _origin(), _losses()],
        help="revert what is above a version",
    )
    parser.add_argument(
        "--version",
        type=int,
        required=True,
        metavar="N",
        help="the version to go down to; 0 removes everything",
    )


def _status(add: _Add) -> None:
    add("status", parents=_database(), help="list the migrations; exit 1 if anything is wrong")


def _version(add: _Add) -> None:
    add("version", parents=_database(), help="print the number")


def _index(add: _Add) -> None:
    parser = add(
        "index",
        parents=[*_database(), _wait()],
        help="choose the index over states, on a live table",
        description="full: whole states, for every contains. initial: initial contexts, which "
        "leaves updates heap-only; its column makes PostgreSQL rewrite the table, which nobody can "
        "read or write meanwhile. none: contains reads every row. HephaestusEcto's up() builds the "
        "full one again unless the table's comment says its version.",
    )
    parser.add_argument("profile", choices=get_args(migrations.Profile))
    parser.add_argument(
        "--rewrite",
        action="store_true",
        help=f"rewrite the table even above {migrations.REWRITE_UP_TO >> 20} MiB",
    )


def _distribute(add: _Add) -> None:
    parser = add(
        "distribute",
        parents=[*_database(), _wait(), _move()],
        help="move the tables to the workers of a Citus cluster",
        description="schema: all tables to one worker, for a tenant a schema. id: the instances to "
        "shards on all workers, for one large table. Storages that run have to be started again.",
    )
    parser.add_argument("--by", choices=get_args(migrations.DistributedBy), required=True)
    parser.add_argument(
        "--shards",
        type=options.at_least(1),
        metavar="N",
        help="how many, by id; default: two for each worker",
    )
    parser.add_argument(
        "--online",
        action=argparse.BooleanOptionalAction,
        help="by id: slower, but readers and writers go on; default: if the table is large",
    )


def _undistribute(add: _Add) -> None:
    add(
        "undistribute",
        parents=[*_database(), _wait(), _move()],
        help="take the tables back to the coordinator",
    )


def _sql(add: _Add) -> None:
    parser = add(
        "sql",
        parents=[options.schema_flag(), _from_version(), _losses()],
        help="print a script for psql; connects to nothing",
    )
    parser.add_argument("direction", nargs="?", choices=["up", "down"], default="up")
    parser.add_argument("--version", type=int, metavar="N", help="as for up and down")
    parser.add_argument(
        "--grants",
        metavar="ROLE",
        help="print instead the GRANTs for a role that reads and writes instances",
    )


def _gen(add: _Add) -> None:
    parser = add(
        "gen",
        parents=[options.schema_flag(), _from_version()],
        help="write files for another migration tool",
    )
    parser.add_argument("--format", choices=["alembic", "sql"], required=True)
    parser.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="default: here")
    parser.add_argument(
        "--version", type=int, metavar="N", help="the last to apply; default: latest"
    )
    parser.add_argument(
        "--down-revision", metavar="REV", help="the Alembic revision that this one follows"
    )


def _database() -> list[options.Parser]:
    return [options.dsn_flag(), options.schema_flag()]


def _wait() -> options.Parser:
    parser = options.Parser(add_help=False)
    parser.add_argument(
        "--wait",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long to try for a lock; default: %(default)g",
    )
    return parser


def _move() -> options.Parser:
    parser = options.Parser(add_help=False)
    parser.add_argument(
        "--rewrite",
        action="store_true",
        help=f"move the tables even above {migrations.REWRITE_UP_TO >> 20} MiB, where nobody can "
        "use them meanwhile",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only say what would be done, how long that keeps others waiting, and what is in the "
        "way; exit 1 if there is anything to do",
    )
    return parser


def _origin() -> options.Parser:
    parser = options.Parser(add_help=False)
    parser.add_argument(
        "--assume-version",
        type=int,
        metavar="N",
        help="the version of a HephaestusEcto table that does not say it itself",
    )
    return parser


def _losses() -> options.Parser:
    parser = options.Parser(add_help=False)
    parser.add_argument(
        "--allow-row-loss", action="store_true", help="drop the table even if it holds instances"
    )
    parser.add_argument(
        "--allow-version-loss",
        action="store_true",
        help="drop workflow_version even if some are not 1",
    )
    parser.add_argument(
        "--allow-due-loss",
        action="store_true",
        help="take back 6 though there are unfinished instances with a due_at",
    )
    return parser


def _from_version() -> options.Parser:
    parser = options.Parser(add_help=False)
    parser.add_argument(
        "--from-version", type=int, metavar="N", help="the version that the database is at"
    )
    return parser
