"""``python -m hephaestus_pg.migrate``: what a person types for :mod:`hephaestus_pg.migrations`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from hephaestus_pg import migrations
from hephaestus_pg.cli import options
from hephaestus_pg.migrations.scripts import LOSSES, alembic_revision, grants, numbered_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hephaestus_pg.migrations import MigrationResult, MigrationStatus, Step


def main(
    argv: Sequence[str] | None = None, *, prog: str = "python -m hephaestus_pg.migrate"
) -> int:
    """Run the command with ``argv`` (default: the process's); the exit code.

    0: done; 1: ``status`` found something that is not as it should be; 2: an error, on stderr.
    """
    arguments = _parser(prog).parse_args(argv)
    with options.warnings_shown():
        return options.exit_code(lambda: arguments.run(arguments))


def _parser(prog: str) -> options.Parser:
    parser = options.Parser(prog=prog, description="Bring a schema to a version.")
    options.add_version_flag(parser)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    dsn, schema = options.dsn_flag(), options.schema_flag()
    wait = options.Parser(add_help=False)
    wait.add_argument(
        "--wait",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long to try for a lock; default: %(default)g",
    )
    origin = options.Parser(add_help=False)
    origin.add_argument(
        "--assume-version",
        type=int,
        metavar="N",
        help="the version of a HephaestusEcto table that does not say it itself",
    )
    losses = options.Parser(add_help=False)
    losses.add_argument(
        "--allow-row-loss", action="store_true", help="take back 1 though there are instances"
    )
    losses.add_argument(
        "--allow-version-loss",
        action="store_true",
        help="take back 2 though there are workflow versions other than 1",
    )
    since = options.Parser(add_help=False)
    since.add_argument(
        "--from-version", type=int, metavar="N", help="the version that the database is at"
    )

    up = commands.add_parser(
        "up", parents=[dsn, schema, wait, origin], help="apply what is missing"
    )
    up.add_argument("--version", type=int, metavar="N", help="the last to apply; default: latest")
    up.add_argument(
        "--online",
        action=argparse.BooleanOptionalAction,
        help="slower, but readers and writers go on; default: if the table is large",
    )
    up.set_defaults(run=_up)

    down = commands.add_parser(
        "down",
        parents=[dsn, schema, wait, origin, losses],
        help="take back what is above a version",
    )
    down.add_argument(
        "--version", type=int, required=True, metavar="N", help="what stands; 0: nothing"
    )
    down.set_defaults(run=_down)

    status = commands.add_parser(
        "status", parents=[dsn, schema], help="list the migrations; exit 1 if anything is amiss"
    )
    status.set_defaults(run=_status)

    version = commands.add_parser("version", parents=[dsn, schema], help="print the number")
    version.set_defaults(run=_version)

    index = commands.add_parser(
        "index",
        parents=[dsn, schema, wait],
        help="choose the index over states, on a live table",
        description="full: whole states, for every contains. initial: initial contexts, which "
        "leaves updates heap-only; its column makes PostgreSQL rewrite the table, which nobody can "
        "read or write meanwhile. none: contains reads every row. HephaestusEcto's up() builds the "
        "full one again unless the table's comment says its version.",
    )
    index.add_argument("profile", choices=get_args(migrations.Profile))
    index.add_argument(
        "--rewrite",
        action="store_true",
        help=f"rewrite the table even above {migrations.REWRITE_UP_TO >> 20} MiB",
    )
    index.set_defaults(run=_index)

    sql = commands.add_parser(
        "sql", parents=[schema, since, losses], help="print a script for psql; connects to nothing"
    )
    sql.add_argument("direction", nargs="?", choices=["up", "down"], default="up")
    sql.add_argument("--version", type=int, metavar="N", help="as for up and down")
    sql.add_argument(
        "--grants", metavar="ROLE", help="instead: what lets ROLE read and write instances"
    )
    sql.set_defaults(run=_sql)

    gen = commands.add_parser(
        "gen", parents=[schema, since], help="write files for another migration tool"
    )
    gen.add_argument("--format", choices=["alembic", "sql"], required=True)
    gen.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="default: here")
    gen.add_argument("--version", type=int, metavar="N", help="the last to apply; default: latest")
    gen.add_argument(
        "--down-revision", metavar="REV", help="the Alembic revision that this one follows"
    )
    gen.set_defaults(run=_gen)
    return parser


def _up(arguments: argparse.Namespace) -> int:
    with _told(arguments, "applied") as done:
        result = asyncio.run(
            migrations.up(
                arguments.dsn,
                schema=arguments.schema,
                version=arguments.version,
                online=arguments.online,
                assume_version=arguments.assume_version,
                wait=arguments.wait,
                progress=done.append,
            )
        )
    _report(result, "applied")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    with _told(arguments, "took back") as done:
        result = asyncio.run(
            migrations.down(
                arguments.dsn,
                schema=arguments.schema,
                version=arguments.version,
                allow_row_loss=arguments.allow_row_loss,
                allow_version_loss=arguments.allow_version_loss,
                assume_version=arguments.assume_version,
                wait=arguments.wait,
                progress=done.append,
            )
        )
    _report(result, "took back")
    return 0


@contextmanager
def _told(arguments: argparse.Namespace, done: str) -> Iterator[list[Step]]:
    """A list for the steps that are done, which are printed if the rest fails."""
    steps: list[Step] = []
    try:
        yield steps
    except BaseException:
        _print_steps(arguments.schema, steps, done)
        raise


def _print_steps(schema: str, steps: Iterable[Step], done: str) -> None:
    for step in steps:
        how = " online" if step.online else ""
        took = options.duration(step.seconds)
        print(f"schema {schema}: {done} {step.version} ({step.name}){how} in {took}")
        for note in step.notes:
            print(f"  note: {note}")


def _report(result: MigrationResult, done: str) -> None:
    where = f"schema {result.schema}"
    if result.adopted:
        print(f"{where}: took over HephaestusEcto's version {result.adopted}")
    _print_steps(result.schema, result.steps, done)
    if result.steps:
        took = options.duration(result.seconds)
        print(f"{where}: from version {result.from_version} to {result.to_version} in {took}")
    else:
        print(f"{where}: nothing to do, it is at version {result.to_version}")
    for note in result.notes:
        print(f"  note: {note}")


def _index(arguments: argparse.Namespace) -> int:
    result = asyncio.run(
        migrations.index(
            arguments.dsn,
            schema=arguments.schema,
            profile=arguments.profile,
            rewrite=arguments.rewrite,
            wait=arguments.wait,
        )
    )
    print(
        f"schema {result.schema}: index {result.after}, before {result.before}, "
        f"in {options.duration(result.seconds)}"
    )
    if result.rewritten:
        print(f"  note: the table ({result.rewritten / 2**20:,.0f} MiB) was rewritten")
    for note in result.notes:
        print(f"  note: {note}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    found = asyncio.run(migrations.status(arguments.dsn, schema=arguments.schema))
    if not found.exists:
        print(f"there is no schema {found.schema}; look at --schema and --dsn")
        return 1
    print(f"schema {found.schema} is at version {found.version}, latest is {migrations.LATEST}")
    width = max(len(each.name) for each in found.migrations)
    print(f"version  {'name':{width}}  applied")
    for each in found.migrations:
        print(f"{each.version:>7}  {each.name:{width}}  {_when(each)}")
    if found.index:
        print(f"index over states: {found.index}")
    for difference in found.differences:
        print(f"amiss: {difference}")
    for note in found.notes:
        print(f"  note: {note}")
    return int(
        bool(found.pending or found.differences)
        or any(each.state == "changed" for each in found.migrations)
    )


def _when(migration: MigrationStatus) -> str:
    if migration.state == "pending":
        return "pending"
    if not migration.applied_at:
        return "by HephaestusEcto"
    remark = {
        "changed": " (its file has changed since)",
        "unknown": " (by a newer release)",
        "missing": " (what it made is gone)",
    }
    return f"{migration.applied_at:%Y-%m-%d %H:%M:%S} UTC{remark.get(migration.state, '')}"


def _version(arguments: argparse.Namespace) -> int:
    print(asyncio.run(migrations.migrated_version(arguments.dsn, schema=arguments.schema)))
    return 0


def _sql(arguments: argparse.Namespace) -> int:
    if arguments.grants is not None:
        print(grants(arguments.grants, schema=arguments.schema), end="")
        return 0
    text = migrations.sql(
        arguments.direction,
        schema=arguments.schema,
        version=arguments.version,
        from_version=arguments.from_version,
        allow=[name for name in LOSSES if getattr(arguments, f"allow_{name}")],
    )
    print(text, end="")
    return 0


def _gen(arguments: argparse.Namespace) -> int:
    wanted = {
        "schema": arguments.schema,
        "version": arguments.version,
        "from_version": arguments.from_version,
    }
    if arguments.format == "alembic":
        files = dict([alembic_revision(**wanted, down_revision=arguments.down_revision)])
    else:
        files = numbered_files(**wanted)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = arguments.output / name
        # "x": a file that is there may have been applied, or edited.
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
