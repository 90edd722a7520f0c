"""Keeps the demo's runners at work, kills them when it is time, and stands for the outside world.

It starts a new process for each runner that was killed, sends the couriers that orders wait for,
and writes down the runners' acknowledgements, by which the promises are checked.
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

from hephaestus_pg import (
    HephaestusError,
    Status,
)
from hephaestus_pg.cli.terminal import progress
from hephaestus_pg.demo.checks import STEPS, Work, checks, lost
from hephaestus_pg.demo.report import Outcome

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage
    from hephaestus_pg.cli.terminal import Progress

TABLES = """
CREATE TABLE demo_orders (number integer PRIMARY KEY);
CREATE TABLE demo_ledger (
    order_id text NOT NULL, step text NOT NULL, runner integer NOT NULL, receipt text NOT NULL,
    revision bigint NOT NULL
);
CREATE TABLE demo_events (order_id text PRIMARY KEY);
"""


class Supervisor:
    """Runs the demo on a migrated schema; ``outcome`` tells how it went."""

    def __init__(
        self, dsn: str, pool: asyncpg.Pool[Any], storage: AsyncStorage, chance: random.Random
    ) -> None:
        self._dsn = dsn
        self._pool = pool
        self._storage = storage
        self._chance = chance
        self._numbers = count(1)
        self.kills_due: deque[float] = deque()
        """The numbers of acknowledged steps at which a runner is killed."""
        self._acknowledged: list[Work] = []
        self._lost: list[Work] = []
        self._refused = 0
        self._steps = 0
        self._kills = 0
        self._seconds = 0.0

    async def place_orders(self, instances: int) -> None:
        """Makes the demo's own tables, and writes down the orders to be started."""
        await self._pool.execute(TABLES)
        await self._pool.execute(
            "INSERT INTO demo_orders (number) SELECT generate_series(1, $1::integer)", instances
        )
        self._steps = instances * len(STEPS)

    async def run(self, runners: int, kills: int) -> None:
        """Keeps that many runners at work until all orders are done, killing some on the way."""
        # One kill in each part of the way, so that none is left over when all is done.
        self.kills_due.extend(
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
                    slots = [world.create_task(self._keep_a_runner(view)) for _ in range(runners)]
                    await asyncio.wait(slots)
                    for other in others:
                        other.cancel()
            except ExceptionGroup as group:
                raise group.exceptions[0] from group
            await self._show(view)
        self._seconds = time.monotonic() - began

    async def outcome(self) -> Outcome:
        """Reads the table and the ledger, and checks the promises against them."""
        orders = await self._storage.query()
        rows = await self._pool.fetch(
            "SELECT order_id, step, runner, receipt, revision FROM demo_ledger"
        )
        ledger = [Work(*row) for row in rows]
        return Outcome(
            orders=orders,
            ledger=ledger,
            acknowledged=self._acknowledged,
            checks=checks(orders, ledger, self._acknowledged, self._lost),
            kills=self._kills,
            refused=self._refused,
            seconds=self._seconds,
        )

    async def _keep_a_runner(self, view: Progress) -> None:
        """Starts one runner after another, until one is not killed."""
        while await self.run_one(runner := next(self._numbers)):
            self._kills += 1
            view.say(f"runner {runner} killed after {len(self._acknowledged)} acknowledged steps")
            acknowledged = list(self._acknowledged)
            self._lost += lost(acknowledged, await self._storage.query())

    async def run_one(self, runner: int) -> bool:
        """Runs a runner to its end; True if that was a kill."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hephaestus_pg.demo.runner", self._storage.schema, str(runner)),
            env=os.environ | {"HEPHAESTUS_PG_DSN": self._dsn},
            stdout=asyncio.subprocess.PIPE,
            # Ctrl-C on the terminal is for the supervisor, which ends the runner.
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            # Due already if the runner before did much of its work before it was heard of.
            killed = await self._kill_if_due(process)
            # What it said before it was killed counts, so it is read to the end.
            async for line in process.stdout:
                self._hear(*json.loads(line))
                killed = killed or await self._kill_if_due(process)
        except BaseException:
            _kill(process)
            raise
        finally:
            code = await process.wait()
        if code != 0 and not killed:
            raise HephaestusError(f"runner {runner} ended with exit code {code}")
        return killed

    async def _kill_if_due(self, process: asyncio.subprocess.Process) -> bool:
        if not self.kills_due or len(self._acknowledged) < self.kills_due[0]:
            return False
        self.kills_due.popleft()
        await asyncio.sleep(self._chance.uniform(0, 0.05))
        _kill(process)
        return True

    def _hear(self, event: str, *work: Any) -> None:
        if event == "acknowledged":
            self._acknowledged.append(Work(*work))
        else:
            self._refused += 1

    async def _send_couriers(self) -> None:
        """Sends each waiting order its outside event, sooner or later."""
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


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself
        process.kill()
