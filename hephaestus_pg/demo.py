"""``python -m hephaestus_pg demo``: see workflows survive the death of their process.

Orders go through a runner in a process of its own (:mod:`hephaestus_pg.demo_runner`), which is
killed with SIGKILL at random moments; the next one goes on from the table.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg

from hephaestus_pg import (
    AsyncStorage,
    HephaestusError,
    Instance,
    Names,
    Status,
    _cli,
    business_key,
    migrations,
)
from hephaestus_pg.demo_checks import STEPS, Work, checks, lost
from hephaestus_pg.demo_view import progress, show_table
from hephaestus_pg.embedded import EmbeddedServer

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from hephaestus_pg.demo_view import Progress

_TABLES = """
CREATE TABLE demo_ledger (
    order_id text NOT NULL, step text NOT NULL, runner integer NOT NULL, receipt text NOT NULL
);
CREATE TABLE demo_events (order_id text PRIMARY KEY);
"""


def main(argv: Sequence[str], *, prog: str = "python -m hephaestus_pg demo") -> int:
    """Run the demo: 0 if every promise was kept, 1 if one was not, 2 after an error."""
    parser = _cli.Parser(prog=prog, description="Kill a workflow runner; see that nothing is lost.")
    parser.add_argument("--dsn", help="a server to use, in a new schema; default: one of our own")
    parser.add_argument(
        "--instances", type=_cli.at_least(1), default=200, help="default: %(default)s"
    )
    parser.add_argument("--kills", type=_cli.at_least(0), default=3, help="default: %(default)s")
    parser.add_argument("--seed", type=int, help="to kill at the same moments again")
    arguments = parser.parse_args(argv)
    if arguments.seed is None:
        arguments.seed = random.randrange(10_000)  # noqa: S311 - chance, not secrecy
    return _cli.exit_code(lambda: _demo(arguments))


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
        asyncpg.create_pool(dsn, min_size=1, max_size=4, server_settings=settings) as pool,
        AsyncStorage.start(pool=pool, name=schema, schema=schema, references=Names()) as storage,
    ):
        try:
            demo = _Demo(dsn, pool, storage, random.Random(arguments.seed))  # noqa: S311 - likewise
            await demo.place_orders(arguments.instances)
            await demo.run(arguments.kills)
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
        self._acknowledged: list[Work] = []
        self._lost: list[Work] = []
        self._steps = 0
        self._kills = 0
        self._seconds = 0.0

    async def place_orders(self, instances: int) -> None:
        """Store what the runners are to take up, and make the tables of the world around them."""
        await self._pool.execute(_TABLES)
        orders = [
            Instance.new(
                "demo.Order", {"number": number}, id=business_key.build_unique("order", str(number))
            )
            for number in range(1, instances + 1)
        ]
        await asyncio.gather(*map(self._storage.put, orders))
        self._steps = instances * len(STEPS)

    async def run(self, kills: int) -> None:
        """Let one runner after another die, and the last one live to the end."""
        # One in each part of the way, so that none comes when all is done.
        deaths = [(k + self._chance.random()) / (kills + 1) * self._steps for k in range(kills)]
        began = time.monotonic()
        with progress(self._steps) as view:
            try:
                async with asyncio.TaskGroup() as world:
                    others = [
                        world.create_task(self._send_couriers()),
                        world.create_task(self._keep_showing(view)),
                    ]
                    for runner, death in enumerate([*deaths, None], start=1):
                        await self._run_runner(runner, death, view)
                    for other in others:
                        other.cancel()
            except ExceptionGroup as group:
                raise group.exceptions[0] from group
            await self._show(view)
        self._seconds = time.monotonic() - began

    async def _run_runner(self, runner: int, death: float | None, view: Progress) -> None:
        """Run a runner to its end, or to its death once so many steps were acknowledged."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hephaestus_pg.demo_runner", self._storage.schema, str(runner)),
            env=os.environ | {"HEPHAESTUS_PG_DSN": self._dsn},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        killed = False
        try:
            # What it said before its death is read to the end: it counts.
            async for line in process.stdout:
                order_id, step, result = json.loads(line)
                self._acknowledged.append(Work(order_id, step, **result))
                if not killed and death is not None and len(self._acknowledged) >= death:
                    await asyncio.sleep(self._chance.uniform(0, 0.05))
                    process.kill()
                    killed = True
        except BaseException:
            process.kill()
            raise
        finally:
            code = await process.wait()
        if killed:
            self._kills += 1
            view.say(f"runner {runner} killed after {len(self._acknowledged)} steps")
            await self._await_its_last_words(runner)
            self._lost += lost(self._acknowledged, await self._storage.query())
        elif code != 0:
            raise HephaestusError(f"runner {runner} ended with exit code {code}")

    async def _await_its_last_words(self, runner: int) -> None:
        """Wait until the server is done with what the dead runner sent last.

        Else a last ``put`` could come after the next runner has read the row, and win.
        """
        name = f"{self._storage.schema} runner {runner}"
        query = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1)"
        still_there = True
        while still_there:
            await asyncio.sleep(0.01)
            still_there = await self._pool.fetchval(query, name)

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
        counts = Counter(order.status for order in await self._storage.query())
        text = ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])
        view.show(len(self._acknowledged), text)

    async def verdict(self, arguments: argparse.Namespace) -> int:
        """Show what came of it; the exit code."""
        orders = await self._storage.query()
        rows = await self._pool.fetch("SELECT order_id, step, runner, receipt FROM demo_ledger")
        ledger = [Work(*row) for row in rows]
        found = checks(orders, ledger, self._acknowledged, self._lost)
        statuses = Counter(order.status for order in orders)
        puts = sum(order.revision or 0 for order in orders)
        repeated = len(ledger) - len({(work.order_id, work.step) for work in ledger})
        show_table(
            f"{arguments.instances} orders (--seed {arguments.seed})",
            [
                *((status, str(statuses[status])) for status in Status),
                ("kills", str(self._kills)),
                ("puts", str(puts)),
                ("puts per second", f"{puts / self._seconds:.0f}, at the pace of these orders"),
                ("steps acknowledged", str(len(self._acknowledged))),
                ("steps killed before their put, run again", str(repeated)),
                *((promise, _answer(against)) for promise, against in found),
            ],
        )
        return 1 if any(against for _, against in found) else 0


def _answer(against: list[str]) -> str:
    if not against:
        return "yes"
    return f"no: {len(against)}, such as {'; '.join(against[:3])}"
