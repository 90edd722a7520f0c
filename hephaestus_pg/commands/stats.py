"""``python -m hephaestus_pg stats``: how many instances there are, and how many do not go on."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from hephaestus_pg.cli import options
from hephaestus_pg.cli.moments import since
from hephaestus_pg.cli.storages import server_time
from hephaestus_pg.commands import arguments
from hephaestus_pg.commands.looking import Look, run, table
from hephaestus_pg.values.instance import Status

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from datetime import datetime

    from hephaestus_pg.inspect.findings import Stats
    from hephaestus_pg.storage import AsyncStorage

_DESCRIPTION = """\
Count the instances by workflow and status, quickly on a table of any
size: numbers with a ~ are estimates, of a status with more than 5,000
instances. "oldest due" is for how long the oldest claimable instance has
waited."""


class Figures(NamedTuple):
    """The figures of a table, and of those who run what is in it, at a moment of the server's."""

    stats: Stats
    runners: int
    now: datetime


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m hephaestus_pg stats") -> int:
    """Runs the command with ``argv`` (default: the process's) and gives its exit code."""
    parser = options.command_parser(
        prog,
        _DESCRIPTION,
        examples=("", "--all-schemas --watch 5"),
        yes="there are instances",
        no="there are none",
    )
    arguments.add_looks(parser)
    return run(LOOK, parser.parse_args(argv))


async def _find(
    storage: AsyncStorage, _given: argparse.Namespace, _remarks: list[str]
) -> AsyncIterator[Figures]:
    stats = await storage.stats()
    if stats.instances:
        yield Figures(stats, len(await storage.runners()), await server_time(storage))


def _plain(found: Figures) -> dict[str, Any]:
    stats = found.stats
    since = stats.claimable_since.items()
    return {
        "instances": [each._asdict() for each in stats.instances],
        "claimable_since": {workflow: moment.isoformat() for workflow, moment in since},
        "owned": stats.owned,
        "orphaned": stats.orphaned,
        "exhausted": stats.exhausted,
        "runners": found.runners,
    }


@contextmanager
def _printed(given: argparse.Namespace) -> Iterator[Callable[[str, Figures], None]]:
    numbers = (*Status, "oldest due")
    totals: list[tuple[str, ...]] = []
    with table(given, "workflow", *numbers, long={"workflow"}, numbers=numbers) as add:

        def show(schema: str, found: Figures) -> None:
            counts = _by_workflow(found.stats)
            for workflow, by_status in counts.items():
                add(
                    schema,
                    workflow,
                    *(by_status.get(each, "0") for each in Status),
                    since(found.stats.claimable_since.get(workflow), found.now),
                )
            figures = (found.stats.owned, found.stats.orphaned, found.stats.exhausted)
            totals.append((schema, *(f"{each:,}" for each in (*figures, found.runners))))

        yield show
    if totals:
        print()
    names = ("owned", "orphaned", "exhausted", "runners")
    with table(given, *names, numbers=names) as add:
        for each in totals:
            add(*each)


def _by_workflow(stats: Stats) -> dict[str, dict[str, str]]:
    counts: dict[str, dict[str, str]] = {each: {} for each in sorted(stats.claimable_since)}
    for each in stats.instances:
        number = f"{'' if each.is_exact else '~'}{each.instances:,}"
        counts.setdefault(each.workflow, {})[each.status] = number
    return dict(sorted(counts.items()))


LOOK = Look(find=_find, plain=_plain, printed=_printed, nothing=lambda _: "there are no instances")
