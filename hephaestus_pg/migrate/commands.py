"""Runs the command that was typed: calls :mod:`hephaestus_pg.migrations`, and prints the result."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hephaestus_pg import migrations
from hephaestus_pg.cli import options
from hephaestus_pg.migrate.arguments import parser
from hephaestus_pg.migrate.printing import print_index, print_result, print_status, print_steps
from hephaestus_pg.migrations.scripts import LOSSES, alembic_revision, grants, numbered_files

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from hephaestus_pg.migrations import Step


def main(
    argv: Sequence[str] | None = None, *, prog: str = "python -m hephaestus_pg.migrate"
) -> int:
    """Runs the command in ``argv`` (default: the process's), and gives its exit code.

    0: done; 1: ``status`` found something that is not as it should be; 2: an error, on stderr.
    """
    arguments = parser(prog).parse_args(argv)
    with options.warnings_shown():
        return options.exit_code(lambda: _COMMANDS[arguments.command](arguments))


def _up(arguments: argparse.Namespace) -> int:
    with _steps_shown_on_failure(arguments.schema, "applied") as done:
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
    print_result(result, "applied")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    with _steps_shown_on_failure(arguments.schema, "reverted") as done:
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
    print_result(result, "reverted")
    return 0


@contextmanager
def _steps_shown_on_failure(schema: str, done: str) -> Iterator[list[Step]]:
    steps: list[Step] = []
    try:
        yield steps
    except BaseException:
        print_steps(schema, steps, done)
        raise


def _status(arguments: argparse.Namespace) -> int:
    found = asyncio.run(migrations.status(arguments.dsn, schema=arguments.schema))
    print_status(found)
    return int(
        not found.exists
        or bool(found.pending or found.differences)
        or any(each.state == "changed" for each in found.migrations)
    )


def _version(arguments: argparse.Namespace) -> int:
    print(asyncio.run(migrations.migrated_version(arguments.dsn, schema=arguments.schema)))
    return 0


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
    print_index(result)
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


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "up": _up,
    "down": _down,
    "status": _status,
    "version": _version,
    "index": _index,
    "sql": _sql,
    "gen": _gen,
}
