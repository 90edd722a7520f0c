"""``python -m hephaestus_pg release ID``: takes instances from their owners, once confirmed."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from hephaestus_pg.cli import options
from hephaestus_pg.cli.json_lines import json_text
from hephaestus_pg.cli.storages import opened
from hephaestus_pg.cli.terminal import printable
from hephaestus_pg.cli.watching import remark
from hephaestus_pg.commands import arguments
from hephaestus_pg.commands.looking import NOTHING
from hephaestus_pg.commands.owners import Owners

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from hephaestus_pg.storage import AsyncStorage
    from hephaestus_pg.values.summary import Summary

_DESCRIPTION = """\
Take instances from their owners, and forget their failed attempts, so that
the next runner goes on at once. An owner that lives loses its claim, and what
it still writes by update is refused. What another runner has claimed since
you were asked is left to that."""


def main(
    argv: Sequence[str] | None = None, *, prog: str = "python -m hephaestus_pg release"
) -> int:
    """Runs the command with ``argv`` (default: the process's) and gives its exit code."""
    parser = options.command_parser(
        prog,
        _DESCRIPTION,
        examples=("order::1", "order::1 order::2 --yes"),
        yes="something was released",
        no="nothing was, or the answer was no",
    )
    parser.add_argument("ids", nargs="+", type=arguments.instance_id, metavar="ID")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="an object for each; needs --yes")
    given = parser.parse_args(argv)
    if not given.yes and (given.json or not sys.stdin.isatty()):
        parser.error("there is no terminal to ask on; give --yes")
    with options.warnings_shown():
        return options.exit_code(lambda: _release(given))


def _release(given: argparse.Namespace) -> int:
    held = asyncio.run(_held(given))
    if not held:
        return NOTHING
    if not (given.yes or options.confirmed("release them?")):
        print("nothing is released")
        return NOTHING
    return 0 if asyncio.run(_released(given, held)) else NOTHING


async def _held(given: argparse.Namespace) -> list[Summary]:
    """Says of each who owns it, and returns those that can be released."""
    held: list[Summary] = []
    async with _storage(given) as storage:
        owners = await Owners.of(storage)
        for id in dict.fromkeys(given.ids):
            summary = await _summary(storage, id)
            if summary is None:
                remark(f"there is no instance {printable(id)}")
            elif summary.runner is None and not summary.attempts:
                remark(f"{printable(id)}: nobody owns it, and no attempt has failed")
            else:
                held.append(summary)
                if not given.json:
                    print(f"{printable(id)}: {_situation(summary, owners)}", flush=True)
    return held


def _storage(given: argparse.Namespace) -> AbstractAsyncContextManager[AsyncStorage]:
    return opened(given.dsn, given.schema, timeout=given.timeout, pgbouncer=given.pgbouncer)


async def _summary(storage: AsyncStorage, id: str) -> Summary | None:
    async for summary in storage.summaries(id=id):
        return summary
    return None


def _situation(summary: Summary, owners: Owners) -> str:
    if summary.runner is None:
        times = f"{summary.attempts} failed attempt{'s' * (summary.attempts != 1)}"
        return f"nobody owns it, after {times}, which would be forgotten"
    owner = printable(owners.long(summary.runner))
    if summary.runner in owners.living:
        return f"owned by {owner}, which would lose it"
    return f"owned by {owner}, and by nobody then"


async def _released(given: argparse.Namespace, held: list[Summary]) -> int:
    count = 0
    async with _storage(given) as storage:
        for asked in held:
            found = await _summary(storage, asked.id)
            # A person takes a while to answer, and may have said yes to the end of a dead owner.
            is_anothers = found is not None and found.runner not in {asked.runner, None}
            done = not is_anothers and await storage.release(asked.id)
            count += done
            if given.json:
                print(json_text({"schema": given.schema, "id": asked.id, "released": done}))
            else:
                others = "another runner owns it by now" if is_anothers else "nobody owns it by now"
                print(f"{printable(asked.id)}: {'released' if done else others}")
    return count
