"""The instances that a contender is loaded with, and each operation on them as calls."""

from __future__ import annotations

import gc
from functools import cache
from typing import TYPE_CHECKING, Any

from benchmarks.load import Load
from benchmarks.states import HALFWAY, STAGES, order

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.contenders import Contender
    from hephaestus_pg import Instance

ORDERS = {
    "1kb": 2048,
    "10kb": 1024,
    "50kb": 512,
    "no-history": 2048,
    "history-20": 2048,
    "history-200": 512,
}
"""Orders by size of their states; each caller has its own, so there are more than callers."""

QUERIED = 50
"""Orders of one workflow, which is what a query brings."""

BATCH = 32
"""Instances of one put_many; or what a caller has, if that is fewer."""

WRITES = frozenset({"put", "update", "put_many"})


class Workload:
    """The calls that one contender answers, with states of one size."""

    def __init__(self, contender: Contender, size: str) -> None:
        self._contender = contender
        self._orders = ORDERS[size]
        self._workflows = self._orders // QUERIED
        self._filled = False
        made = _made(size, self._orders, self._workflows)
        self._ids = [instance.id for instance in made[0]]
        self._values = [[contender.value(instance) for instance in stage] for stage in made]
        self._queried = [f"Shop.Orders.Fulfil{number}" for number in range(self._workflows)]
        # What is loaded with is no part of the program that is measured.
        gc.collect()
        gc.freeze()

    async def prepared(self, dsn: str, operation: str, callers: int, warm_up: float) -> Load:
        """The load of an operation, all connections open and all statements known."""
        if operation != "put" and not self._filled:
            for start in range(0, self._orders, BATCH):
                batch = self._values[HALFWAY][start : start + BATCH]
                await self._contender.put_many(batch)
            await self._contender.look(dsn)
            self._filled = True
        call: Callable[[int, int], Awaitable[int]] = getattr(self, f"_{operation}")(callers)
        load = Load(call, callers)
        await load.run(warm_up)
        return load

    async def finish(self, dsn: str, operation: str) -> None:
        """Leave behind what reads need, or nothing."""
        if operation in WRITES:
            await self._contender.clear(dsn)
            self._filled = False

    def _own(self, values: list[Any], callers: int) -> list[list[Any]]:
        return [values[caller::callers] for caller in range(callers)]

    def _put(self, callers: int) -> Callable[[int, int], Awaitable[int]]:
        return self._next_stage(self._contender.put, callers)

    def _update(self, callers: int) -> Callable[[int, int], Awaitable[int]]:
        return self._next_stage(self._contender.update, callers, first=HALFWAY + 1)

    def _next_stage(
        self, operation: Callable[[Any], Awaitable[int]], callers: int, *, first: int = 0
    ) -> Callable[[int, int], Awaitable[int]]:
        """Each caller brings its orders a stage further, one after another, and round again."""
        stages = [self._own(values, callers) for values in self._values]

        def call(caller: int, turn: int) -> Awaitable[int]:
            stage, position = divmod(turn, len(stages[0][caller]))
            return operation(stages[(stage + first) % STAGES][caller][position])

        return call

    def _get(self, callers: int) -> Callable[[int, int], Awaitable[int]]:
        ids = self._own(self._ids, callers)
        return lambda caller, turn: self._contender.get(ids[caller][turn % len(ids[caller])])

    def _query(self, callers: int) -> Callable[[int, int], Awaitable[int]]:
        return lambda caller, turn: self._contender.query(
            self._queried[(caller + turn) % self._workflows]
        )

    def _stream(self, callers: int) -> Callable[[int, int], Awaitable[int]]:
        return lambda caller, turn: self._contender.stream()

    def _put_many(self, callers: int) -> Callable[[int, int], Awaitable[int]]:
        stages = [self._own(values, callers) for values in self._values]

        def call(caller: int, turn: int) -> Awaitable[int]:
            batch = stages[(turn + 1) % STAGES][caller][:BATCH]
            return self._contender.put_many(batch)

        return call


@cache
def _made(size: str, orders: int, workflows: int) -> list[list[Instance]]:
    """The orders, by stage."""
    return [
        [order(number, stage, size, workflow=number % workflows) for number in range(orders)]
        for stage in range(STAGES)
    ]
