"""``python -m hephaestus_pg show ID``: an instance, its owner, and its history as a timeline."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from hephaestus_pg.cli import options
from hephaestus_pg.cli.moments import between, exact, since, span
from hephaestus_pg.cli.tables import Table
from hephaestus_pg.cli.terminal import printable
from hephaestus_pg.commands import arguments
from hephaestus_pg.commands.changes import changes
from hephaestus_pg.commands.looking import Look, run
from hephaestus_pg.commands.owners import Owners, plain
from hephaestus_pg.errors import CorruptInstanceError, SerializationError
from hephaestus_pg.values.instance import Status

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from hephaestus_pg.storage import AsyncStorage
    from hephaestus_pg.values.instance import Instance
    from hephaestus_pg.values.summary import Summary


class Shown(NamedTuple):
    """An instance, or what can be said of one that cannot be read."""

    summary: Summary
    owners: Owners
    instance: Instance | None
    as_json: dict[str, Any]
    error: str | None


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m hephaestus_pg show") -> int:
    """Runs the command with ``argv`` (default: the process's) and gives its exit code."""
    parser = options.command_parser(
        prog,
        "Show an instance: its columns, its owner, and its history as a timeline.",
        examples=("order::1 --diff", "order::1 --json | jq .state.context"),
        yes="it is shown",
        no="there is no such instance",
    )
    parser.add_argument("id", type=arguments.instance_id, metavar="ID")
    parser.add_argument(
        "--diff",
        action="store_true",
        help="what each entry of the history added (+) and changed (~)",
    )
    arguments.add_looks(parser)
    return run(LOOK, parser.parse_args(argv))


async def _find(
    storage: AsyncStorage, given: argparse.Namespace, _remarks: list[str]
) -> AsyncIterator[Shown]:
    async for summary in storage.summaries(id=given.id):
        owners = await Owners.of(storage)
        columns = plain(summary, owners)
        try:
            instance = await storage.get(given.id)
            if instance is None:
                return
            # The summary was read before, and may be older.
            whole = {**columns, **(storage.as_json(instance) if given.json else {})}
        except (CorruptInstanceError, SerializationError) as error:
            yield Shown(summary, owners, None, {**columns, "state": None}, str(error))
            raise
        yield Shown(summary, owners, instance, whole, None)


def _plain(found: Shown) -> dict[str, Any]:
    return {**found.as_json, "error": found.error}


@contextmanager
def _printed(given: argparse.Namespace) -> Iterator[Callable[[str, Shown], None]]:
    is_first = True

    def show(schema: str, found: Shown) -> None:
        nonlocal is_first
        if not is_first:
            print()
        is_first = False
        rows = [("schema", schema)] if given.all_schemas else []
        for label, text in (*rows, *_columns(found)):
            print(f"{label:<10} {printable(text)}")
        if found.instance is not None and found.instance.execution_history:
            print()
            _print_history(found.instance, with_changes=given.diff)

    yield show


def _columns(found: Shown) -> list[tuple[str, str]]:
    summary, owners = found.summary, found.owners
    instance = found.instance
    step = f" at {summary.current_step}" if summary.current_step is not None else ""
    rows = [
        ("id", summary.id),
        ("workflow", f"{summary.workflow}, version {summary.workflow_version}"),
        ("status", f"{summary.status}{step}"),
        ("owner", owners.long(summary.runner)),
        ("attempts", f"{summary.attempts} failed in a row" if summary.attempts else "none failed"),
        ("due", _due(found)),
        ("revision", str(summary.revision)),
        ("size", f"{summary.state_bytes:,} bytes of state"),
    ]
    for label, moment in (("inserted", summary.inserted_at), ("updated", summary.updated_at)):
        if moment is not None:
            rows.append((label, f"{exact(moment)} UTC, {since(moment, owners.now)} ago"))
    if instance is not None:
        rows += [
            (label, ", ".join(sorted(steps)))
            for label, steps in (
                ("active", instance.active_steps),
                ("completed", instance.completed_steps),
            )
            if steps
        ]
    return rows


def _due(found: Shown) -> str:
    summary, now = found.summary, found.owners.now
    if summary.status in Status.FINISHED:
        return "never: it has finished"
    if summary.status not in Status.ACTIVE:
        return "never: nobody knows that status"
    if summary.runner is not None:
        return "once its owner gives it up"
    if summary.due_at is not None:
        left = summary.due_at - now
        when = f"in {span(left)}" if left.total_seconds() > 0 else f"since {span(-left)}"
        return f"{exact(summary.due_at)} UTC, {when}"
    if summary.attempts:
        return "never: too many attempts failed; write it or release it"
    if summary.status == Status.WAITING:
        return "never: it waits for a write"
    return "now"


def _print_history(instance: Instance, *, with_changes: bool) -> None:
    entries = instance.execution_history
    passed = ["", *(between(each.timestamp - last.timestamp) for last, each in pairwise(entries))]
    changed = changes(instance) if with_changes else [[] for _ in entries]
    with Table(
        "at (UTC)",
        "after",
        "step",
        "event",
        "changes",
        long={"step", "event", "changes"},
        numbers={"after"},
    ) as table:
        for entry, after, lines in zip(entries, passed, changed, strict=True):
            table.add(
                exact(entry.timestamp),
                after,
                entry.step_ref,
                entry.event,
                ", ".join(entry.context_updates or ()),
                below=[f"    {line}" for line in lines],
            )


LOOK = Look(
    find=_find,
    plain=_plain,
    printed=_printed,
    nothing=lambda given: f"there is no instance {given.id!r}",
)
