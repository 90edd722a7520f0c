"""The demo's runner, and a pattern for your own: it may be killed at any moment.

An order takes five steps, two of them at once, one of them waiting for an outside event::

    Reserve ─┬─ Charge ─┬─ Collect (once the courier came) ── Notify
             └─ Pack ───┘

Each step does its work, then records it with ``storage.put``. Once ``put`` has returned, the step
never runs again, whatever happens. A kill between the two makes it run a second time: so give its
effect a key, such as the instance's id and the step's name, by which the other side knows it.

One instance is run by one runner at a time; here, whoever starts a runner sees to that.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import asyncpg

from hephaestus_pg import AsyncStorage, ExecutionEntry, Instance, NamedClasses, Status

if TYPE_CHECKING:
    from collections.abc import Callable

ORDERS_AT_ONCE = 40


class Step:
    """What an order goes through, once every step in ``after`` is completed."""

    after: ClassVar[frozenset[type[Step]]] = frozenset()

    @classmethod
    async def work(cls, run: Run) -> dict[str, Any]:
        """Do it, and return what it gave. Here: a line in the ledger, and some time."""
        return await run.work_and_write_it_down(cls)


class Reserve(Step):
    """Take the goods off the shelf."""


class Charge(Step):
    """Take the money."""

    after = frozenset({Reserve})


class Pack(Step):
    """Pack the parcel while the bank is busy."""

    after = frozenset({Reserve})


class Collect(Step):
    """Give it to the courier, who comes when he comes, even while no runner is there."""

    after = frozenset({Charge, Pack})

    @classmethod
    async def work(cls, run: Run) -> dict[str, Any]:
        """Record that the order waits, then look for the event until it is there."""
        await run.put(lambda order: replace(order, status=Status.WAITING))
        while not await run.courier_came():  # noqa: ASYNC110 - the event is a row
            await asyncio.sleep(0.1)
        return await super().work(run)


class Notify(Step):
    """Tell the customer."""

    after = frozenset({Collect})


class Order:
    """The workflow."""

    steps: ClassVar[tuple[type[Step], ...]] = (Reserve, Charge, Pack, Collect, Notify)


CLASSES: tuple[type, ...] = (Order, *Order.steps)
REFERENCES = NamedClasses({f"demo.{cls.__name__}": cls for cls in CLASSES})


def ready(completed: frozenset[type[Step]]) -> frozenset[type[Step]]:
    """The steps that can run now."""
    return frozenset(
        step for step in Order.steps if step not in completed and step.after <= completed
    )


def with_step_completed(order: Instance, step: type[Step], result: dict[str, Any]) -> Instance:
    """The order as it is to be stored once the step has done its work."""
    completed = order.completed_steps | {step}
    active = ready(completed)
    return replace(
        order,
        status=Status.RUNNING if active else Status.COMPLETED,
        current_step=step,
        context=order.context.put_step_result(step.__name__, result),
        active_steps=active,
        completed_steps=completed,
        execution_history=(
            *order.execution_history,
            ExecutionEntry(step, "completed", datetime.now(UTC)),
        ),
    )


class Run:
    """One order on its way. All that a later runner needs to know of it is in the table."""

    def __init__(
        self, storage: AsyncStorage, pool: asyncpg.Pool[Any], runner: int, order: Instance
    ) -> None:
        self._storage = storage
        self._pool = pool
        self._runner = runner
        self._order = order
        self._one_put_at_a_time = asyncio.Lock()

    async def to_the_end(self) -> None:
        """Run what is ready, all of it at once, until nothing is left."""
        while steps := ready(self._order.completed_steps):
            async with asyncio.TaskGroup() as at_once:
                for step in steps:
                    at_once.create_task(self._take(step))

    async def _take(self, step: type[Step]) -> None:
        result = await step.work(self)
        await self.put(lambda order: with_step_completed(order, step, result))
        # For the demo's checks: from here on the step must never run again.
        print(json.dumps([self._order.id, step.__name__, result]), flush=True)

    async def put(self, change: Callable[[Instance], Instance]) -> None:
        """Store the changed order. Parallel steps must not overwrite what the other recorded."""
        async with self._one_put_at_a_time:
            self._order = await self._storage.put(change(self._order))

    async def work_and_write_it_down(self, step: type[Step]) -> dict[str, Any]:
        """The work of a step, which somebody outside can count."""
        receipt = uuid4().hex
        await self._pool.execute(
            "INSERT INTO demo_ledger (order_id, step, runner, receipt) VALUES ($1, $2, $3, $4)",
            *(self._order.id, step.__name__, self._runner, receipt),
        )
        await asyncio.sleep(random.uniform(0.02, 0.4))  # noqa: S311 - a duration, no secret
        return {"receipt": receipt, "runner": self._runner}

    async def courier_came(self) -> bool:
        """Whether the outside event is there."""
        return bool(
            await self._pool.fetchval(
                "SELECT EXISTS (SELECT FROM demo_events WHERE order_id = $1)", self._order.id
            )
        )


async def main(schema: str, runner: int) -> None:
    """Take up every unfinished order from the table, and run each to its end."""
    places = asyncio.Semaphore(ORDERS_AT_ONCE)

    async def run(order: Instance) -> None:
        async with places:
            await Run(storage, pool, runner, order).to_the_end()

    settings = {"search_path": schema, "application_name": f"{schema} runner {runner}"}
    async with (
        asyncpg.create_pool(os.environ["HEPHAESTUS_PG_DSN"], server_settings=settings) as pool,
        AsyncStorage.start(pool=pool, schema=schema, references=REFERENCES) as storage,
        asyncio.TaskGroup() as orders,
    ):
        for order in await storage.query(status_in=Status.ACTIVE):
            orders.create_task(run(order))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
