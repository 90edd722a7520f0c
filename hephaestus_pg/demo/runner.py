"""The demo's runner, and a pattern for your own: it may be killed or frozen at any moment.

An order takes five steps, two of them at once, one of them after an outside event::

    Reserve ─┬─ Charge ─┬─ Collect (once the courier came) ── Notify
             └─ Pack ───┘

``runner.claims()`` hands orders to this process, which owns each of them until it is completed or
has to wait. Each step has its effect, then records itself with ``storage.update``; once that has
returned, no runner does the step again. If this process dies, others go on from the table once its
lease has ended; if it was only thought dead, its late updates are refused.

The world outside can't see who owns an order, so give two things to an effect: a key, such as the
order's id and the step's name, since an effect that was not recorded is done again; and
``claim.token``, by which a late effect of a former owner is refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

from hephaestus_pg import (
    AsyncStorage,
    ClaimLostError,
    ExecutionEntry,
    Instance,
    NamedClasses,
    RunnerEndedError,
    Status,
)
from hephaestus_pg.demo.witness import Work, outside, take_effect

if TYPE_CHECKING:
    from asyncpg import Pool

    from hephaestus_pg import Claim

ORDERS_AT_ONCE = 200


class Step:
    """A step of an order, which can run once every step in ``after`` is completed."""

    after: ClassVar[frozenset[type[Step]]] = frozenset()


class Reserve(Step):
    """Take the goods off the shelf."""


class Charge(Step):
    """Take the money."""

    after = frozenset({Reserve})


class Pack(Step):
    """Pack the parcel while the bank is busy."""

    after = frozenset({Reserve})


class Collect(Step):
    """Give the parcel to the courier; the order waits until he has come."""

    after = frozenset({Charge, Pack})


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
    status = Status.RUNNING if active else Status.COMPLETED
    if Collect in active:
        status = Status.WAITING  # whoever hears of the courier sets it to running
    entry = ExecutionEntry(step, "completed", datetime.now(UTC))
    return replace(
        order,
        status=status,
        due_at=None,  # where it waits, it waits for the courier, and not until a moment
        current_step=step,
        context=order.context.put_step_result(step.__name__, result),
        active_steps=active,
        completed_steps=completed,
        execution_history=(*order.execution_history, entry),
    )


async def run(storage: AsyncStorage, pool: Pool[Any], number: int, claim: Claim) -> None:
    """Runs all steps that are ready, at once, until the order is completed or waits.

    Raises:
        ClaimLostError: Another runner goes on; it finds all it needs in the table.
    """
    order: Instance
    recording = asyncio.Lock()

    async def run_step(step: type[Step]) -> None:
        nonlocal order
        work = Work(claim.id, step.__name__, number, uuid4().hex, claim.token)
        await _pause()
        await take_effect(pool, work)
        await _pause()
        async with recording:  # each update begins with what the one before has stored
            order = await storage.update(with_step_completed(order, step, work.result))
        _tell("acknowledged", *work)

    async with claim as order:
        _tell("claimed", claim.id)
        while order.status not in {Status.WAITING, Status.COMPLETED}:
            async with asyncio.TaskGroup() as at_once:
                for step in ready(order.completed_steps):
                    at_once.create_task(run_step(step))


async def _pause() -> None:
    """Stands for what takes a step its time."""
    await asyncio.sleep(random.uniform(0.01, 0.2))  # noqa: S311 - a duration, no secret


def _tell(*what: Any) -> None:
    """Tells the supervisor: an acknowledged step must never be lost, nor done again."""
    print(json.dumps(what), flush=True)


async def main(schema: str, number: int, lease: float) -> None:
    """Runs orders as they can be had, until SIGTERM, or until it is dead."""

    async def work() -> None:
        async for claim in runner.claims():
            with suppress(ClaimLostError):
                await run(storage, pool, number, claim)

    async with (
        AsyncStorage.start(schema=schema, references=REFERENCES) as storage,
        outside(os.environ["HEPHAESTUS_PG_DSN"], schema) as pool,
        storage.runner(
            workflows=[Order],
            name=str(number),
            lease=lease,
            max_attempts=1000,  # it is killed on purpose here, for which no order is to blame
            retry_after=lambda _: 0,
        ) as runner,
        asyncio.TaskGroup() as tasks,
    ):
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGTERM, lambda: tasks.create_task(runner.stop())
        )
        for _ in range(ORDERS_AT_ONCE):
            tasks.create_task(work())


if __name__ == "__main__":
    code = 0
    try:
        asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
    except* RunnerEndedError:
        code = os.EX_TEMPFAIL  # whoever started it starts another
    sys.exit(code)
