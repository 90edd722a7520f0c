"""DBOS: a queue of workflows, inserted by its client, each with one step that is checkpointed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import orjson
import sqlalchemy
from dbos import DBOS, DBOSClient, DBOSConfig

from benchmarks.queues import WORKERS, Queue, foreign_state, number_in, parsed_state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

QUEUE, WORKFLOW, APPLICATION = "orders", "fulfil", "benchmarks"
_ENQUEUED: Any = {"queue_name": QUEUE, "workflow_name": WORKFLOW}
_FOREIGN: Any = {"queue_name": "foreign", "workflow_name": "foreign"}


class DbosWorkflows(Queue):
    FINISHED = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"

    options: ClassVar[dict[str, Any]] = {}

    async def install(self, dsn: str) -> None:
        await asyncio.to_thread(_install, dsn, self.options)

    async def open(self, dsn: str) -> None:
        self._dsn = dsn
        self._engine = sqlalchemy.create_engine(dsn.replace("postgresql:", "postgresql+psycopg:"))
        self._client = await asyncio.to_thread(
            DBOSClient, system_database_url=dsn, application_name=APPLICATION
        )

    async def fill(self, numbers: Sequence[int]) -> None:
        states = [parsed_state_of(number) for number in numbers]
        await asyncio.to_thread(self._enqueue, _ENQUEUED, states)

    def _enqueue(self, options: Any, states: Sequence[Any]) -> None:
        with self._engine.begin() as connection:
            for state in states:
                self._client.enqueue_in_transaction(connection, options, state)

    async def insert(self, number: int) -> None:
        await self._client.enqueue_async(_ENQUEUED, parsed_state_of(number))

    async def write_foreign(self, numbers: Sequence[int]) -> None:
        states = [orjson.loads(foreign_state())] * len(numbers)
        await asyncio.to_thread(self._enqueue, _FOREIGN, states)

    async def work(self, started: Callable[[int], None]) -> None:
        @DBOS.step()
        async def write(state: dict[str, Any]) -> dict[str, Any]:
            return state

        @DBOS.workflow(name=WORKFLOW)
        async def fulfil(state: dict[str, Any]) -> None:
            started(number_in(state))
            await write(state)

        DBOS(config=_config(self._dsn))
        DBOS.launch()
        await asyncio.Event().wait()


class Polling(DbosWorkflows):
    """Asks often, and so for no more at once than it works on."""

    options: ClassVar = {"worker_concurrency": WORKERS, "polling_interval_sec": 0.01}


def _install(dsn: str, options: dict[str, Any]) -> None:
    DBOS(config=_config(dsn))
    DBOS.launch()
    DBOS.register_queue(QUEUE, **options)
    DBOS.destroy()


def _config(dsn: str) -> DBOSConfig:
    return {
        "name": APPLICATION,
        "system_database_url": dsn,
        "executor_id": str(uuid4()),
        "application_version": "1",
        "log_level": "ERROR",
    }
