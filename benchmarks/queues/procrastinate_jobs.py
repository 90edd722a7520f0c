"""Procrastinate with ``concurrency``, and with ``listen_notify``, which is its default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from procrastinate import App, PsycopgConnector

from benchmarks.contenders import POOL
from benchmarks.queues import (
    WORKERS,
    Orders,
    Queue,
    foreign_state,
    number_in,
    parsed_state_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


QUEUE = "orders"
"""The queue of the worker, which is told of its own jobs alone."""


class ProcrastinateJobs(Queue):
    FINISHED = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"

    async def install(self, dsn: str) -> None:
        await Orders.install(dsn)
        async with App(connector=PsycopgConnector(conninfo=dsn)).open_async() as app:
            await app.schema_manager.apply_schema_async()

    async def open(self, dsn: str) -> None:
        self._orders = Orders(dsn)
        await self._orders.open()
        self._app = App(connector=PsycopgConnector(conninfo=dsn, min_size=POOL, max_size=POOL))
        await self._app.open_async()
        self._started: Callable[[int], None] = _ignore
        self._fulfil = self._app.task(name="fulfil", queue=QUEUE)(self._fulfilled)
        self._foreign = self._app.task(name="foreign", queue="foreign")(_ignore)

    async def fill(self, numbers: Sequence[int]) -> None:
        await self._orders.insert(numbers)
        await self._fulfil.batch_defer_async(
            *({"state": parsed_state_of(number)} for number in numbers)
        )

    async def insert(self, number: int) -> None:
        await self._fulfil.defer_async(state=parsed_state_of(number))

    async def write_foreign(self, numbers: Sequence[int]) -> None:
        state = orjson.loads(foreign_state())
        await self._foreign.batch_defer_async(*[{"state": state}] * len(numbers))

    async def work(self, started: Callable[[int], None]) -> None:
        self._started = started
        await self._app.run_worker_async(
            queues=[QUEUE],
            concurrency=WORKERS,
            listen_notify=True,
            install_signal_handlers=False,
        )

    async def _fulfilled(self, state: dict[str, Any]) -> None:
        number = number_in(state)
        self._started(number)
        await self._orders.write(number, orjson.dumps(state).decode())


def _ignore(state: object) -> None:
    pass
