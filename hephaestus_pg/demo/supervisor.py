"""Stands for the world around the runners: customers, couriers, and what kills processes."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hephaestus_pg import (
    ExecutionEntry,
    Instance,
    Status,
    business_key,
)
from hephaestus_pg.cli.terminal import progress
from hephaestus_pg.demo.checks import STEPS, checks
from hephaestus_pg.demo.processes import Processes
from hephaestus_pg.demo.report import Outcome
from hephaestus_pg.demo.witness import TABLES, ledger

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage

ORDERS_PER_SECOND = 40
"""How fast customers order."""

STUCK_SECONDS = 60.0
"""Seconds without an acknowledged step, besides three leases, after which nobody waits for more."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The extent of a demo."""

    instances: int
    runners: int
    kills: int
    freezes: int
    lease: float
    seed: int
    """By which the moments of kills and freezes are drawn."""

    @property
    def steps(self) -> int:
        """The number of steps of all orders."""
        return self.instances * len(STEPS)


class Supervisor:
    """Runs the demo on a migrated schema; ``outcome`` tells how it went."""

    def __init__(
        self, dsn: str, pool: asyncpg.Pool[Any], storage: AsyncStorage, plan: Plan
    ) -> None:
        self._pool = pool
        self._storage = storage
        self._plan = plan
        self._view = progress(plan.steps)
        self._processes = Processes(storage, dsn, lease=plan.lease, say=self._view.say)
        self._seconds = 0.0

    async def run(self) -> None:
        """Keeps runners at work until all orders are done, killing and freezing some of them."""
        await self._pool.execute(TABLES)
        began = time.monotonic()
        with self._view:
            await self._show()
            try:
                async with asyncio.TaskGroup() as world:
                    await self._run_in(world)
            except ExceptionGroup as group:
                raise group.exceptions[0] from group
            await self._show()
        self._seconds = time.monotonic() - began

    async def outcome(self) -> Outcome:
        """Reads the table and the ledger, and checks the promises against them."""
        seen = self._processes
        orders = await self._storage.query()
        effects = await ledger(self._pool)
        return Outcome(
            orders=orders,
            ledger=effects,
            acknowledged=seen.acknowledged,
            checks=checks(
                orders, effects, seen.acknowledged, lost_at_a_kill=seen.lost, ended=seen.ended
            ),
            kills=seen.kills,
            freezes=seen.freezes,
            expired=seen.expired,
            waits=seen.waits,
            lease=self._plan.lease,
            seconds=self._seconds,
        )

    async def _run_in(self, world: asyncio.TaskGroup) -> None:
        for _ in range(self._plan.runners):
            world.create_task(self._processes.keep_one())
        around = [world.create_task(self._send_couriers()), world.create_task(self._keep_showing())]
        strikes = [self._strike(due, fault) for due, fault in faults(self._plan)]
        events = [world.create_task(event) for event in (self._place_orders(), *strikes)]
        acknowledged, since = 0, time.monotonic()
        while not all(event.done() for event in events) or await self._has_orders_left():
            await asyncio.sleep(0.1)
            if acknowledged != len(self._processes.acknowledged):
                acknowledged, since = len(self._processes.acknowledged), time.monotonic()
            elif time.monotonic() > since + STUCK_SECONDS + 3 * self._plan.lease:
                self._view.say("nothing goes on any more")  # the checks say what is wrong
                break
        for task in (*around, *events):
            task.cancel()
        self._processes.stop()

    async def _has_orders_left(self) -> bool:
        return await self._storage.count(status_in=Status.ACTIVE) > 0

    async def _place_orders(self) -> None:
        for number in range(1, self._plan.instances + 1):
            id = business_key.build("order", str(number))
            await self._storage.insert(Instance.new("demo.Order", {"number": number}, id=id))
            await asyncio.sleep(1 / ORDERS_PER_SECOND)

    async def _send_couriers(self) -> None:
        """Sends each waiting order its outside event, sooner or later."""
        while True:
            for order in await self._storage.query(status=Status.WAITING):
                if random.random() < 0.3:  # noqa: S311, PLR2004 - now, or a bit later
                    await self._storage.modify(order.id, courier_came)
            await asyncio.sleep(0.1)

    async def _strike(self, due: float, fault: str) -> None:
        """Kills or freezes a runner once so many steps are acknowledged."""
        while len(self._processes.acknowledged) < due:  # noqa: ASYNC110 - dozens a second
            await asyncio.sleep(0.01)
        await (self._processes.kill() if fault == "kill" else self._processes.freeze())

    async def _keep_showing(self) -> None:
        while True:
            await self._show()
            await asyncio.sleep(0.25)

    async def _show(self) -> None:
        orders = await self._storage.query()
        counts = Counter(order.status for order in orders)
        text = ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])
        self._view.show(sum(len(order.completed_steps) for order in orders), text)


def faults(plan: Plan) -> list[tuple[float, str]]:
    """Draws after how many acknowledged steps to kill or freeze a runner.

    Each fault has a part of the way of its own, so that none is left over when all is done.
    """
    chance = random.Random(plan.seed)  # noqa: S311 - chance, not secrecy
    kinds = ["kill"] * plan.kills + ["freeze"] * plan.freezes
    chance.shuffle(kinds)
    part = plan.steps / (len(kinds) + 1)
    return [((number + chance.random()) * part, kind) for number, kind in enumerate(kinds)]


def courier_came(order: Instance) -> Instance:
    """Returns the order to be stored when its courier is there: a runner goes on with it."""
    entry = ExecutionEntry("demo.Collect", "the courier came", datetime.now(UTC))
    return replace(
        order, status=Status.RUNNING, execution_history=(*order.execution_history, entry)
    )
