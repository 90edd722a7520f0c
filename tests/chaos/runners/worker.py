"""A process with a runner and the tasks that work for it, who tell what they were told.

``python -m tests.chaos.runners.worker DSN LEASE``. It tells each acknowledged write, each error and
the token of each runner that it starts as a line of JSON on standard output. A runner that is dead
gives place to another; SIGTERM ends the process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hephaestus_pg import (
    AsyncStorage,
    DatabaseError,
    Instance,
    Names,
    RunnerEndedError,
    StaleInstanceError,
    Status,
)
from tests.chaos.runners.history import STEPS, Write
from tests.chaos.schedule import SCHEMA

if TYPE_CHECKING:
    from hephaestus_pg import Claim, Runner

WORKFLOW = "Chaos"
TASKS = 32
POOL = 3
TIMEOUT = 2.0
"""Seconds after which a call gives a connection up that stays silent."""

STEP_SECONDS = 0.6
"""What a step takes at the most, but for those that outlast a lease."""

LONG = 0.02
"""The share of steps that do."""

STUBBORN = 0.3
"""The share of steps that nobody can cancel: they write, though their claim is lost."""

WAITING = 0.1
"""The share of writes that leave the next step to whoever claims the instance when it is due."""

INSERTING = 0.25
"""The share of finished instances in whose place their owner inserts another."""

AGAIN = 0.2
"""Seconds until a process whose runner is dead starts another."""


class Worker:
    """What the tasks of one process share."""

    def __init__(self, storage: AsyncStorage, lease: float) -> None:
        self.storage = storage
        self.lease = lease
        self.runner: Runner | None = None
        self.stopping: asyncio.Task[None] | None = None
        self.inserted = 0
        self._steps: set[asyncio.Task[Instance]] = set()

    def stop(self) -> None:
        self.stopping = asyncio.create_task(self._stop())

    async def _stop(self) -> None:
        if self.runner is not None:
            await self.runner.stop()

    async def live(self) -> None:
        """Have one runner after the other until the process is stopped."""
        while self.stopping is None:
            try:
                await self._one_runner()
            except* (DatabaseError, RunnerEndedError) as group:
                for error in _each(group):
                    tell(error=type(error).__name__)
            if self.stopping is None:
                await asyncio.sleep(AGAIN)

    async def _one_runner(self) -> None:
        async with self.storage.runner(
            workflows=[WORKFLOW],
            lease=self.lease,
            max_attempts=1000,
            retry_after=lambda _: 0.5,
        ) as runner:
            self.runner = runner
            if self.stopping is not None:  # while this one was starting
                return
            tell(runner=str(runner.token))
            async with asyncio.TaskGroup() as group:
                for _ in range(TASKS):
                    group.create_task(self._work(runner))

    async def _work(self, runner: Runner) -> None:
        async for claim in runner.claims():
            try:
                is_finished = await self._run(claim, runner)
                if is_finished and random.random() < INSERTING:
                    await self._run(await runner.insert(self._another(runner)), runner)
            except (DatabaseError, StaleInstanceError) as error:
                tell(error=type(error).__name__)

    def _another(self, runner: Runner) -> Instance:
        self.inserted += 1
        return Instance(f"{runner.token}::{self.inserted}", WORKFLOW)

    async def _run(self, claim: Claim, runner: Runner) -> bool:
        """Go on with an instance; ``True`` once it is finished."""
        async with claim as claimed:
            held = claimed
            while held.status not in {Status.COMPLETED, Status.WAITING} or held is claimed:
                step = asyncio.create_task(self._step(held, claim, runner))
                self._steps.add(step)
                step.add_done_callback(self._stepped)
                held = await (asyncio.shield(step) if random.random() < STUBBORN else step)
        return held.status is Status.COMPLETED

    def _stepped(self, step: asyncio.Task[Instance]) -> None:
        self._steps.discard(step)
        if not step.cancelled():
            step.exception()  # its claim may have ended before: nobody else asks then

    async def _step(self, held: Instance, claim: Claim, runner: Runner) -> Instance:
        """Work for a while, and write that it is done."""
        is_long = random.random() < LONG
        await asyncio.sleep(self.lease * 1.5 if is_long else _up_to(STEP_SECONDS))
        step = len(held.completed_steps) + 1
        new = _next(held, step, claim, runner)
        try:
            written = await self.storage.update(new)
        except (DatabaseError, StaleInstanceError) as error:
            if getattr(error, "applied", "no") == "no":
                _tell_write("refused", new, step, claim, runner)
            raise
        _tell_write("write", written, step, claim, runner)
        return written


def _tell_write(what: str, row: Instance, step: int, claim: Claim, runner: Runner) -> None:
    assert row.revision is not None
    tell(**{what: Write(row.id, row.revision, claim.token, str(runner.token), step)})


def _next(held: Instance, step: int, claim: Claim, runner: Runner) -> Instance:
    """The state after that step, with the claim under which it is written."""
    status, due_at = Status.RUNNING, None
    if step == STEPS:
        status = Status.COMPLETED
    elif random.random() < WAITING:
        status, due_at = Status.WAITING, datetime.now(UTC) + timedelta(seconds=_up_to(1))
    said = {"step": step, "token": claim.token, "writer": str(runner.token)}
    return replace(
        held,
        status=status,
        due_at=due_at,
        completed_steps=held.completed_steps | {f"step {step}"},
        runtime_metadata=said,
    )


def _up_to(seconds: float) -> float:
    return random.uniform(0, seconds)


def _each(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    """The errors of a group, those of the groups in it too."""
    errors: list[BaseException] = []
    for error in group.exceptions:
        errors += _each(error) if isinstance(error, BaseExceptionGroup) else [error]
    return errors


def _without_cancelled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what nobody has asked for, but for what asyncpg goes on with after a cancel."""
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def main(dsn: str, lease: float) -> None:
    # What fails here is told, and expected.
    logging.getLogger("hephaestus_pg").setLevel(logging.CRITICAL)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_without_cancelled)
    while True:
        try:
            storage = await AsyncStorage.start(
                dsn, schema=SCHEMA, references=Names(), max_size=POOL, timeout=TIMEOUT
            )
        except DatabaseError as error:
            tell(error=type(error).__name__)
            await asyncio.sleep(AGAIN)
        else:
            break
    async with storage:
        worker = Worker(storage, lease)
        loop.add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.live()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
