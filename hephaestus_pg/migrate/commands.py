"""Runs the command that was typed: calls :mod:`hephaestus_pg.migrations`, and prints the result."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from hephaestus_pg import migrations
from hephaestus_pg.cli import options
from hephaestus_pg.errors import HephaestusError
from hephaestus_pg.migrate.arguments import parser
from hephaestus_pg.migrate.printing import (
    print_index,
    print_move,
    print_move_plan,
    print_plan,
    print_result,
    print_status,
    print_steps,
)
from hephaestus_pg.migrations.scripts import LOSSES, alembic_revision, grants, numbered_files

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Coroutine, Sequence

    from hephaestus_pg.migrations import (
        DistributionPlan,
        DistributionResult,
        MigrationResult,
        Step,
    )

T = TypeVar("T")


def main(
    argv: Sequence[str] | None = None, *, prog: str = "python -m hephaestus_pg.migrate"
) -> int:
    """Runs the command in ``argv`` (default: the process's), and gives its exit code.

    0: done; 1: ``status`` found something that is not as it should be, or ``--dry-run`` something
    to do; 2: an error, on stderr.
    """
    arguments = parser(prog).parse_args(argv)
    with options.warnings_shown():
        return options.exit_code(lambda: _COMMANDS[arguments.command](arguments))


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Runs ``work``. SIGTERM ends it as Ctrl-C does, so that the server does not go on with it."""

    async def until_told_to_end() -> T:
        task = asyncio.current_task()
        assert task is not None
        with suppress(RuntimeError):  # not on this system, or not in this thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(until_told_to_end())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _up(arguments: argparse.Namespace) -> int:
    if arguments.dry_run:
        return _plan(arguments)
    work = partial(migrations.up, version=arguments.version, online=arguments.online)
    return _migrate(arguments, work, "applied")


def _plan(arguments: argparse.Namespace) -> int:
    plan = _run(
        migrations.plan(
            arguments.dsn,
            schema=arguments.schema,
            version=arguments.version,
            online=arguments.online,
            assume_version=arguments.assume_version,
        )
    )
    print_plan(plan)
    return int(bool(plan.steps))


def _down(arguments: argparse.Namespace) -> int:
    work = partial(
        migrations.down,
        version=arguments.version,
        allow_row_loss=arguments.allow_row_loss,
        allow_version_loss=arguments.allow_version_loss,
        allow_due_loss=arguments.allow_due_loss,
    )
    return _migrate(arguments, work, "reverted")


def _migrate(
    arguments: argparse.Namespace,
    work: Callable[..., Coroutine[Any, Any, MigrationResult]],
    done: str,
) -> int:
    """Runs ``work``, and prints what is ``done``, also where it failed on its way."""
    steps: list[Step] = []
    try:
        result = _run(
            work(
                arguments.dsn,
                schema=arguments.schema,
                assume_version=arguments.assume_version,
                wait=arguments.wait,
                progress=steps.append,
            )
        )
    except BaseException:
        print_steps(arguments.schema, steps, done)
        raise
    print_result(result, done)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    found = _run(migrations.status(arguments.dsn, schema=arguments.schema))
    print_status(found)
    return int(
        not found.exists
        or bool(found.pending or found.differences)
        or any(each.state == "changed" for each in found.migrations)
    )


def _version(arguments: argparse.Namespace) -> int:
    print(_run(migrations.migrated_version(arguments.dsn, schema=arguments.schema)))
    return 0


def _index(arguments: argparse.Namespace) -> int:
    result = _run(
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


def _distribute(arguments: argparse.Namespace) -> int:
    wanted = {
        "schema": arguments.schema,
        "by": arguments.by,
        "shards": arguments.shards,
        "online": arguments.online,
    }
    if arguments.dry_run:
        return _plan_move(migrations.plan_distribute(arguments.dsn, **wanted))
    return _move(arguments, partial(migrations.distribute, **wanted))


def _undistribute(arguments: argparse.Namespace) -> int:
    if arguments.dry_run:
        return _plan_move(migrations.plan_undistribute(arguments.dsn, schema=arguments.schema))
    return _move(arguments, partial(migrations.undistribute, schema=arguments.schema))


def _plan_move(planning: Coroutine[Any, Any, DistributionPlan]) -> int:
    plan = _run(planning)
    print_move_plan(plan)
    return int(plan.before != plan.after)


def _move(
    arguments: argparse.Namespace, work: Callable[..., Coroutine[Any, Any, DistributionResult]]
) -> int:
    print_move(_run(work(arguments.dsn, rewrite=arguments.rewrite, wait=arguments.wait)))
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
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise HephaestusError(
                f"{path} is there already, and may have been applied or edited; for what is newer "
                "give --from-version, or give another --output"
            ) from None
        print(path)
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "up": _up,
    "down": _down,
    "status": _status,
    "version": _version,
    "index": _index,
    "distribute": _distribute,
    "undistribute": _undistribute,
    "sql": _sql,
    "gen": _gen,
}
