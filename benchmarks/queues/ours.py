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

    async def fill(self, numbers: Sequence[int]) -> None:
        await self._storage.put_many([_new(number) for number in numbers])

    async def insert(self, number: int) -> None:
        await self._storage.insert(_new(number))

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
