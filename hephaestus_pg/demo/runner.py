"""The demo's runner, and a pattern for your own: it may be killed at any moment.

An order takes five steps, two of them at once, one of them after an outside event::

    Reserve ─┬─ Charge ─┬─ Collect (once the courier came) ── Notify
             └─ Pack ───┘

An order is started with ``storage.insert``, which succeeds once, however many try. Each step does
its work, then records it with ``storage.update``; once that has returned, no runner that reads the
order does the step again. So any number of runners may run one order: if several do a step at once,
the first one records it and the updates of the others are refused, as is a late update of a dead
runner. Work that was done but not recorded is done again, so give its effect a key, such as the
instance's id and the step's name, by which the other side knows it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import asyncpg

from hephaestus_pg import (
    AsyncStorage,
    ExecutionEntry,
    Instance,
    InstanceExistsError,
    NamedClasses,
    StaleInstanceError,
    Status,
    business_key,
)
from hephaestus_pg.driver.connector import Connector

if TYPE_CHECKING:
    from collections.abc import Callable

ORDERS_AT_ONCE = 40


class Step:
    """A step of an order, which can run once every step in ``after`` is completed."""

    after: ClassVar[frozenset[type[Step]]] = frozenset()

    @classmethod
    async def wait(cls, run: Run) -> None:
        """Returns once the step can be done."""


class Reserve(Step):
    """Take the goods off the shelf."""


class Charge(Step):
    """Take the money."""

    after = frozenset({Reserve})


class Pack(Step):
    """Pack the parcel while the bank is busy."""

    after = frozenset({Reserve})


class Collect(Step):
    """Give the parcel to the courier, who may come while no runner is there."""

    after = frozenset({Charge, Pack})

    @classmethod
    async def wait(cls, run: Run) -> None:
        """Records that the order waits, then looks for the event until it is there."""
        await run.update(cls, lambda order: waiting(order, cls))
        while not await run.courier_came():  # noqa: ASYNC110 - the event is a row
            await asyncio.sleep(0.1)


class Notify(Step):
    """Tell the customer."""

    after = frozenset({Collect})


class Order:
    """The workflow."""

    steps: ClassVar[tuple[type[Step], ...]] = (Reserve, Charge, Pack, Collect, Notify)


CLASSES: tuple[type, ...] = (Order, *Order.steps)
REFERENCES = NamedClasses({f"demo.{cls.__name__}": cls for cls in CLASSES})


def ready(completed: frozenset[type[Step]]) -> frozenset[type[Step]]:
    """Returns the steps that can run once these are completed."""
    return frozenset(
        step for step in Order.steps if step not in completed and step.after <= completed
    )


def with_step_completed(order: Instance, step: type[Step], result: dict[str, Any]) -> Instance:
    """Returns the order to be stored once the step is done."""
    completed = order.completed_steps | {step}
    active = ready(completed)
    return replace(
        order,
        status=Status.RUNNING if active else Status.COMPLETED,
        current_step=step,
        context=order.context.put_step_result(step.__name__, result),
        active_steps=active,
        completed_steps=completed,
        execution_history=_history(order, step, "completed"),
    )


def waiting(order: Instance, step: type[Step]) -> Instance:
    """Returns the order to be stored while the step waits for its event."""
    history = _history(order, step, "began to wait")
    return replace(order, status=Status.WAITING, execution_history=history)


def _history(order: Instance, step: type[Step], event: str) -> tuple[ExecutionEntry, ...]:
    return (*order.execution_history, ExecutionEntry(step, event, datetime.now(UTC)))


class Run:
    """Runs one order. Another runner finds all it needs to go on with it in the table."""

    def __init__(
        self, storage: AsyncStorage, pool: asyncpg.Pool[Any], runner: int, order: Instance
    ) -> None:
        self._storage = storage
        self._pool = pool
        self._runner = runner
        self._order = order
        self._one_update_at_a_time = asyncio.Lock()

    async def to_the_end(self) -> None:
        """Runs all steps that are ready, at once, until none is left."""
        await self._read()  # when its turn comes, another runner may have done some of it
        while steps := ready(self._order.completed_steps):
            async with asyncio.TaskGroup() as at_once:
                for step in steps:
                    at_once.create_task(self.run_step(step))

    async def run_step(self, step: type[Step]) -> None:
        """Does the step's work and records it, unless another runner has done so by then."""
        await step.wait(self)
        if step in self._order.completed_steps:
            return
        result = await self._do_work(step)
        recorded = await self.update(step, lambda order: with_step_completed(order, step, result))
        if recorded is not None:
            _tell("acknowledged", recorded.id, step.__name__, *result.values(), recorded.revision)

    async def update(
        self, step: type[Step], change: Callable[[Instance], Instance]
    ) -> Instance | None:
        """Stores the changed order, unless the step is completed: then it gives None.

        If another runner wrote first, ``change`` is applied anew to what that one stored.
        """
        async with self._one_update_at_a_time:
            while step not in self._order.completed_steps:
                try:
                    self._order = await self._storage.update(change(self._order))
                except StaleInstanceError:
                    _tell("refused")
                    await self._read()
                else:
                    return self._order
        return None

    async def _read(self) -> None:
        order = await self._storage.get(self._order.id)
        assert order is not None, "nobody deletes an order"
        self._order = order

    async def _do_work(self, step: type[Step]) -> dict[str, Any]:
        """Does a step's work: here a line in the ledger, by which the checks count, and a pause."""
        receipt = uuid4().hex
        await self._pool.execute(
            "INSERT INTO demo_ledger (order_id, step, runner, receipt, revision) "
            "VALUES ($1, $2, $3, $4, $5)",
            *(self._order.id, step.__name__, self._runner, receipt, self._order.revision),
        )
        await asyncio.sleep(random.uniform(0.02, 0.4))  # noqa: S311 - a duration, no secret
        return {"runner": self._runner, "receipt": receipt}

    async def courier_came(self) -> bool:
        """Returns ``True`` once the outside event is there."""
        return bool(
            await self._pool.fetchval(
                "SELECT EXISTS (SELECT FROM demo_events WHERE order_id = $1)", self._order.id
            )
        )


def _tell(*what: Any) -> None:
    """Tells the supervisor: an acknowledged step must never be lost, nor done again."""
    print(json.dumps(what), flush=True)


async def main(schema: str, runner: int) -> None:
    """Starts what was ordered, and runs every order that is not finished to its end."""
    slots = asyncio.Semaphore(ORDERS_AT_ONCE)

    async def start(number: int) -> None:
        id = business_key.build("order", str(number))
        with suppress(InstanceExistsError):  # another runner has started it
            await storage.insert(Instance.new(Order, {"number": number}, id=id))

    async def run(order: Instance) -> None:
        async with slots:
            await Run(storage, pool, runner, order).to_the_end()

    dsn, settings = os.environ["HEPHAESTUS_PG_DSN"], {"search_path": schema}
    async with (
        asyncpg.create_pool(dsn, connect=Connector(dsn).connect, server_settings=settings) as pool,
        AsyncStorage.start(pool=pool, schema=schema, references=REFERENCES) as storage,
        asyncio.TaskGroup() as orders,
    ):
        ordered = await pool.fetch("SELECT number FROM demo_orders")
        await asyncio.gather(*(start(row["number"]) for row in ordered))
        unfinished = await storage.query(status_in=Status.ACTIVE)
        random.shuffle(unfinished)  # so that several runners seldom meet
        for order in unfinished:
            orders.create_task(run(order))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
