"""Prints the results of migrations for a person to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus_pg import migrations
from hephaestus_pg.cli import options
from hephaestus_pg.cli.tables import Table
from hephaestus_pg.cli.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hephaestus_pg.migrations import (
        DistributionPlan,
        DistributionResult,
        IndexResult,
        MigrationPlan,
        MigrationResult,
        MigrationStatus,
        SchemaStatus,
        Step,
    )

_REMARKS = {
    "changed": " (its file has changed since)",
    "unknown": " (by a newer release)",
    "missing": " (what it made is gone)",
}


def print_result(result: MigrationResult, done: str) -> None:
    """Prints a run; ``done`` is the verb for its steps: applied, or reverted."""
    where = f"schema {result.schema}"
    if result.adopted:
        print(f"{where}: took over HephaestusEcto's version {result.adopted}")
    print_steps(result.schema, result.steps, done)
    if result.steps:
        took = options.duration(result.seconds)
        print(f"{where}: from version {result.from_version} to {result.to_version} in {took}")
    else:
        print(f"{where}: nothing to do, it is at version {result.to_version}")
    _print_notes(result.notes)


def print_plan(plan: MigrationPlan) -> None:
    """Prints the steps that a run would do, then what that means for readers and writers."""
    where = f"schema {plan.schema}"
    if not plan.steps:
        print(f"{where}: nothing to do, it is at version {plan.from_version}")
        _print_notes(plan.notes)
        return
    print(f"{where} is at version {plan.from_version}; up would apply")
    names = ("version", "name", "lock", "held", "rewrites", "about")
    with Table(*names, long={"name"}, numbers={"version", "about"}) as table:
        for step in plan.steps:
            table.add(
                str(step.version),
                f"{step.name}{' online' * step.online}",
                step.lock or "none",
                step.held,
                "yes" if step.rewrites else "no",
                options.duration(step.seconds) if step.seconds >= 1 else "under 1 s",
            )
    _print_notes(plan.notes)
    if plan.bytes:
        _print_notes(
            [
                "while ACCESS EXCLUSIVE is held nobody reads or writes the table",
                f"the table has about {plan.rows:,} rows, {plan.bytes / 2**20:,.0f} MiB",
                "the times are of two busy cores (idle ones: a third), without waits for locks",
            ]
        )


def print_steps(schema: str, steps: Iterable[Step], done: str) -> None:
    """Prints the steps of a run, which may not have come to its end."""
    for step in steps:
        how = " online" if step.online else ""
        took = options.duration(step.seconds)
        print(f"schema {schema}: {done} {step.version} ({step.name}){how} in {took}")
        _print_notes(step.notes)


def print_index(result: IndexResult) -> None:
    """Prints a change of the index."""
    print(
        f"schema {result.schema}: index {result.after}, before {result.before}, "
        f"in {options.duration(result.seconds)}"
    )
    if result.rewritten:
        _print_notes([f"the table ({result.rewritten / 2**20:,.0f} MiB) was rewritten"])
    _print_notes(result.notes)


def print_move(result: DistributionResult) -> None:
    """Prints a move to the workers of a cluster, or from there."""
    took = options.duration(result.seconds)
    now = f"distributed {result.after}" if result.after else "not distributed"
    if result.before == result.after:
        print(f"schema {result.schema}: nothing to do, it is {now}")
    elif result.after:
        print(f"schema {result.schema}: {now}{', online' * result.online}, in {took}")
    else:
        print(f"schema {result.schema}: undistributed, before {result.before}, in {took}")
    _print_notes(result.notes)


def print_move_plan(plan: DistributionPlan) -> None:
    """Prints what a move would do, how long others would wait, and what is in its way."""
    now = f"distributed {plan.before}" if plan.before else "not distributed"
    if plan.before == plan.after:
        print(f"schema {plan.schema}: nothing to do, it is {now}")
        return
    then = f"distribute would move it {plan.after}" if plan.after else "undistribute would end that"
    print(f"schema {plan.schema} is {now}; {then}{', online' * plan.online}")
    long = f"about {options.duration(plan.seconds)}" if plan.seconds >= 1 else "under 1 s"
    if plan.online:
        _print_notes([f"{long}, in which readers and writers wait for moments"])
    else:
        _print_notes([f"{long}, in which nobody can read or write the tables"])
        if plan.bytes > migrations.REWRITE_UP_TO:
            _print_notes([f"above {migrations.REWRITE_UP_TO >> 20} MiB it needs --rewrite"])
    _print_notes(
        [
            f"the table has about {plan.rows:,} rows, {plan.bytes / 2**20:,.0f} MiB",
            "the time is of two busy cores, without waits for locks",
        ]
    )
    for obstacle in plan.obstacles:
        print(f"problem: {printable(str(obstacle))}")


def print_status(found: SchemaStatus) -> None:
    """Prints a table of the migrations, then the index, the differences and the notes."""
    if not found.exists:
        print(f"there is no schema {found.schema}; look at --schema and --dsn")
        return
    print(f"schema {found.schema} is at version {found.version}, latest is {migrations.LATEST}")
    with Table("version", "name", "applied", numbers={"version"}) as table:
        for each in found.migrations:
            table.add(str(each.version), each.name, _when(each))
    if found.index:
        print(f"index over states: {found.index}")
    if found.distribution:
        print(f"distributed: {found.distribution}")
    for difference in found.differences:
        print(f"problem: {printable(str(difference))}")
    _print_notes(found.notes)


def _when(migration: MigrationStatus) -> str:
    if migration.state == "pending":
        return "pending"
    if not migration.applied_at:
        return "by HephaestusEcto"
    return f"{migration.applied_at:%Y-%m-%d %H:%M:%S} UTC{_REMARKS.get(migration.state, '')}"


def _print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"  note: {printable(note)}")
