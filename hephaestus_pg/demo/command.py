"""``python -m hephaestus_pg demo``: shows workflows that survive the death of their process.

Orders go through runners, each a process of its own (:mod:`hephaestus_pg.demo.runner`), which are
killed with SIGKILL at random moments; the next one goes on from the table.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg

from hephaestus_pg import (
    AsyncStorage,
    Names,
    migrations,
)
from hephaestus_pg.cli import options
from hephaestus_pg.demo import report
from hephaestus_pg.demo.supervisor import Supervisor
from hephaestus_pg.driver.connector import Connector
from hephaestus_pg.embedded import EmbeddedServer

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m hephaestus_pg demo") -> int:
    """Runs the demo: 0 if every promise was kept, 1 if one was not, 2 after an error."""
    parser = options.Parser(
        prog=prog, description="Kill a workflow runner; see that nothing is lost."
    )
    parser.add_argument("--dsn", help="a server to use, in a new schema; default: one of our own")
    parser.add_argument(
        "--instances", type=options.at_least(1), default=200, help="default: %(default)s"
    )
    parser.add_argument("--kills", type=options.at_least(0), default=3, help="default: %(default)s")
    parser.add_argument(
        "--runners", type=options.at_least(1), default=1, help="at once; default: %(default)s"
    )
    parser.add_argument("--seed", type=int, help="to kill at the same moments again")
    arguments = parser.parse_args(argv)
    if arguments.seed is None:
        arguments.seed = random.randrange(10_000)  # noqa: S311 - chance, not secrecy
    return options.exit_code(lambda: _demo(arguments))


def _demo(arguments: argparse.Namespace) -> int:
    if arguments.dsn:
        return asyncio.run(_run(arguments.dsn, arguments))
    print("starting a PostgreSQL of our own", flush=True)
    with EmbeddedServer() as server:
        return asyncio.run(_run(server.dsn, arguments))


async def _run(dsn: str, arguments: argparse.Namespace) -> int:
    schema = f"hephaestus_demo_{uuid4().hex[:8]}"
    await migrations.up(dsn, schema=schema)
    settings = {"search_path": schema}
    async with (
        asyncpg.create_pool(
            dsn, connect=Connector(dsn).connect, min_size=0, max_size=4, server_settings=settings
        ) as pool,
        AsyncStorage.start(pool=pool, name=schema, schema=schema, references=Names()) as storage,
    ):
        try:
            chance = random.Random(arguments.seed)  # noqa: S311 - likewise
            supervisor = Supervisor(dsn, pool, storage, chance)
            await supervisor.place_orders(arguments.instances)
            await supervisor.run(arguments.runners, arguments.kills)
            outcome = await supervisor.outcome()
        finally:
            await pool.execute(f"DROP SCHEMA {schema} CASCADE")
    report.show(outcome, title=f"{arguments.instances} orders (--seed {arguments.seed})")
    return 1 if any(check.against for check in outcome.checks) else 0
