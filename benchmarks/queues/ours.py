from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.queues import WORKERS, Queue
from benchmarks.states import order
from hephaestus_pg import AsyncStorage, Names, Status, migrations

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus_pg import Instance
    from hephaestus_pg.runners.runner import Runner


class Ours(Queue):
    FINISHED = "SELECT count(*) FROM workflow_instances WHERE status = 'completed'"

    async def install(self, dsn: str) -> None:
        await migrations.up(dsn)

    async def open(self, dsn: str) -> None:
        self._storage = await AsyncStorage.start(dsn, references=Names())
        self._written: dict[int, Instance] = {}
        self._stages = [
            replace(order(0, stage, "1kb", workflow=1), status=Status.RUNNING) for stage in (0, 1)
        ]

    async def fill(self, numbers: Sequence[int]) -> None:
        await self._storage.put_many([_new(number) for number in numbers])

    async def insert(self, number: int) -> None:
        await self._storage.insert(_new(number))

    async def write_foreign(self, numbers: Sequence[int]) -> None:
        """One is put and updated in turns, several are put."""
        first, second = self._stages
        if len(numbers) > 1:
            await self._storage.put_many([_foreign(first, number) for number in numbers])
            return
        [number] = numbers
        if (stored := self._written.pop(number, None)) is None:
            self._written[number] = await self._storage.put(_foreign(first, number))
        else:
            await self._storage.update(replace(second, id=stored.id, revision=stored.revision))

    async def work(self, started: Callable[[int], None]) -> None:
        workflows = [_new(0).workflow]
        async with (
            self._storage.runner(workflows=workflows) as runner,
            asyncio.TaskGroup() as workers,
        ):
            for _ in range(WORKERS):
                workers.create_task(self._worker(runner, started))

    async def _worker(self, runner: Runner, started: Callable[[int], None]) -> None:
        async for claim in runner.claims():
            async with claim as instance:
                started(instance.context.initial["order"])
                await self._storage.update(replace(instance, status=Status.COMPLETED))


class WithoutIndex(Ours):
    """As the orders of the queues are: without an index over their states."""

    async def install(self, dsn: str) -> None:
        await super().install(dsn)
        await migrations.index(dsn, profile="none")


def _new(number: int) -> Instance:
    return replace(order(number, 0, "1kb"), status=Status.RUNNING)


def _foreign(instance: Instance, number: int) -> Instance:
    return replace(instance, id=f"foreign::{number:08x}")
