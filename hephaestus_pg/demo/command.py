"""``python -m hephaestus_pg demo``: see workflows survive the death of their process.

Orders go through runners, each a process of its own (:mod:`hephaestus_pg.demo.runner`), which are
killed with SIGKILL at random moments; the next one goes on from the table.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg

from hephaestus_pg import (
    AsyncStorage,
    HephaestusError,
    Names,
    Status,
    migrations,
)
from hephaestus_pg.cli import options
from hephaestus_pg.cli.terminal import progress, show_table
from hephaestus_pg.demo.checks import STEPS, Work, checks, lost
from hephaestus_pg.driver.connector import Connector
from hephaestus_pg.embedded import EmbeddedServer

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from hephaestus_pg.cli.terminal import Progress

_TABLES = """
CREATE TABLE demo_orders (number integer PRIMARY KEY);
CREATE TABLE demo_ledger (
    order_id text NOT NULL, step text NOT NULL, runner integer NOT NULL, receipt text NOT NULL,
    revision bigint NOT NULL
);
CREATE TABLE demo_events (order_id text PRIMARY KEY);
"""


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m hephaestus_pg demo") -> int:
    """Run the demo: 0 if every promise was kept, 1 if one was not, 2 after an error."""
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
            demo = _Demo(dsn, pool, storage, random.Random(arguments.seed))  # noqa: S311 - likewise
            await demo.place_orders(arguments.instances)
            await demo.run(arguments.runners, arguments.kills)
            return await demo.verdict(arguments)
        finally:
            await pool.execute(f"DROP SCHEMA {schema} CASCADE")


class _Demo:
    """The world around the runners: the shop, the courier, death, and the auditor."""

    def __init__(
        self, dsn: str, pool: asyncpg.Pool[Any], storage: AsyncStorage, chance: random.Random
    ) -> None:
        self._dsn = dsn
        self._pool = pool
        self._storage = storage
        self._chance = chance
        self._numbers = count(1)
        self._deaths: deque[float] = deque()
        self._acknowledged: list[Work] = []
        self._lost: list[Work] = []
        self._refused = 0
        self._steps = 0
        self._kills = 0
        self._seconds = 0.0

    async def place_orders(self, instances: int) -> None:
        """Write down what is ordered, and make the tables of the world around the runners."""
        await self._pool.execute(_TABLES)
        await self._pool.execute(
            "INSERT INTO demo_orders (number) SELECT generate_series(1, $1::integer)", instances
        )
        self._steps = instances * len(STEPS)

    async def run(self, runners: int, kills: int) -> None:
        """Let so many runners at once work, and die and be replaced, until all is done."""
        # One death in each part of the way, so that none comes when all is done.
        self._deaths.extend(
            (kill + self._chance.random()) / (kills + 1) * self._steps for kill in range(kills)
        )
        began = time.monotonic()
        with progress(self._steps) as view:
            try:
                async with asyncio.TaskGroup() as world:
                    others = [
                        world.create_task(self._send_couriers()),
                        world.create_task(self._keep_showing(view)),
                    ]
                    places = [world.create_task(self._keep_a_runner(view)) for _ in range(runners)]
                    await asyncio.wait(places)
                    for other in others:
                        other.cancel()
            except ExceptionGroup as group:
                raise group.exceptions[0] from group
            await self._show(view)
        self._seconds = time.monotonic() - began

    async def _keep_a_runner(self, view: Progress) -> None:
        """Run one runner after another, until one lives to its end."""
        while await self._dies(runner := next(self._numbers)):
            self._kills += 1
            view.say(f"runner {runner} killed after {len(self._acknowledged)} steps")
            acknowledged = list(self._acknowledged)
            self._lost += lost(acknowledged, await self._storage.query())

    async def _dies(self, runner: int) -> bool:
        """Run a runner to its end, or to its death if one is due when it acknowledges a step."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hephaestus_pg.demo.runner", self._storage.schema, str(runner)),
            env=os.environ | {"HEPHAESTUS_PG_DSN": self._dsn},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        dying = False

        async def die_if_due() -> None:
            nonlocal dying
            if not dying and self._deaths and len(self._acknowledged) >= self._deaths[0]:
                dying = True
                self._deaths.popleft()
                await asyncio.sleep(self._chance.uniform(0, 0.05))
                _kill(process)

        try:
            await die_if_due()  # as it is where the one before did a lot before it was heard
            # What it said before its death is read to the end: it counts.
            async for line in process.stdout:
                self._hear(*json.loads(line))
                await die_if_due()
        except BaseException:
            _kill(process)
            raise
        finally:
            code = await process.wait()
        if code != 0 and not dying:
            raise HephaestusError(f"runner {runner} ended with exit code {code}")
        return dying

    def _hear(self, event: str, *work: Any) -> None:
        if event == "acknowledged":
            self._acknowledged.append(Work(*work))
        else:
            self._refused += 1

    async def _send_couriers(self) -> None:
        """The outside event, at some time or other, for each order that waits for it."""
        while True:
            for order in await self._storage.query(status=Status.WAITING):
                if random.random() < 0.3:  # noqa: S311, PLR2004 - now, or a bit later
                    await self._pool.execute(
                        "INSERT INTO demo_events (order_id) VALUES ($1) ON CONFLICT DO NOTHING",
                        order.id,
                    )
            await asyncio.sleep(0.1)

    async def _keep_showing(self, view: Progress) -> None:
        while True:
            await self._show(view)
            await asyncio.sleep(0.25)

    async def _show(self, view: Progress) -> None:
        orders = await self._storage.query()
        counts = Counter(order.status for order in orders)
        text = ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])
        view.show(sum(len(order.completed_steps) for order in orders), text)

    async def verdict(self, arguments: argparse.Namespace) -> int:
        """Show what came of it; the exit code."""
        orders = await self._storage.query()
        rows = await self._pool.fetch(
            "SELECT order_id, step, runner, receipt, revision FROM demo_ledger"
        )
        ledger = [Work(*row) for row in rows]
        found = checks(orders, ledger, self._acknowledged, self._lost)
        statuses = Counter(order.status for order in orders)
        # An insert and each step; how often an order began to wait is not recorded.
        writes = sum(1 + len(order.execution_history) for order in orders)
        repeated = len(ledger) - len({(work.order_id, work.step) for work in ledger})
        show_table(
            f"{arguments.instances} orders (--seed {arguments.seed})",
            [
                *((status, str(statuses[status])) for status in Status),
                ("kills", str(self._kills)),
                ("writes", str(writes)),
                ("writes per second", f"{writes / self._seconds:.0f}, at the pace of these orders"),
                ("updates refused, another was first", str(self._refused)),
                ("steps acknowledged", str(len(self._acknowledged))),
                ("work done again, not recorded before", str(repeated)),
                *((promise, _answer(against)) for promise, against in found),
            ],
        )
        return 1 if any(against for _, against in found) else 0


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself
        process.kill()


def _answer(against: list[str]) -> str:
    if not against:
        return "yes"
    return f"no: {len(against)}, such as {'; '.join(against[:3])}"
