"""``python -m hephaestus_pg runners``: the runners that live, of all processes."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from hephaestus_pg.cli import options
from hephaestus_pg.cli.moments import span
from hephaestus_pg.cli.storages import server_time
from hephaestus_pg.commands import arguments
from hephaestus_pg.commands.looking import Look, run, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from datetime import datetime

    from hephaestus_pg.runners.settings import RunnerInfo
    from hephaestus_pg.storage import AsyncStorage


class Living(NamedTuple):
    """A runner that lives, at a moment of the server's."""

    runner: RunnerInfo
    now: datetime


def main(
    argv: Sequence[str] | None = None, *, prog: str = "python -m hephaestus_pg runners"
) -> int:
    """Runs the command with ``argv`` (default: the process's) and gives its exit code."""
    parser = options.command_parser(
        prog,
        "List the runners that live, what is left of their leases, and what they own.",
        examples=("", "--all-schemas --watch"),
        yes="some live",
        no="none lives",
    )
    arguments.add_looks(parser)
    return run(LOOK, parser.parse_args(argv))


async def _find(
    storage: AsyncStorage, _given: argparse.Namespace, _remarks: list[str]
) -> AsyncIterator[Living]:
    now = await server_time(storage)
    for each in await storage.runners():
        yield Living(each, now)


def _plain(found: Living) -> dict[str, Any]:
    runner = found.runner
    return {
        **asdict(runner),
        "token": str(runner.token),
        "workflows": list(runner.workflows),
        "started_at": runner.started_at.isoformat(),
        "expires_at": runner.expires_at.isoformat(),
        "lease_left": (runner.expires_at - found.now).total_seconds(),
    }


@contextmanager
def _printed(given: argparse.Namespace) -> Iterator[Callable[[str, Living], None]]:
    long, numbers = ("name", "token", "workflows"), ("since", "lease left", "owned")
    with table(given, *long, *numbers, long=long, numbers=numbers) as add:

        def show(schema: str, found: Living) -> None:
            runner, now = found
            add(
                schema,
                runner.name,
                str(runner.token),
                ", ".join(runner.workflows),
                span(now - runner.started_at),
                span(runner.expires_at - now),
                f"{runner.owned:,}",
            )

        yield show


LOOK = Look(find=_find, plain=_plain, printed=_printed, nothing=lambda _: "no runner lives")
