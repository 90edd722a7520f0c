"""PgQueuer by its guide to performance: ``autovac``, and a connection for the manager alone.

``max_concurrent_tasks`` has to be twice ``batch_size``, which is as large as 64 workers let it be:
larger or no limits were not faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import orjson
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.queries import Queries

from benchmarks.contenders import POOL
from benchmarks.queues import WORKERS, Orders, Queue, foreign_state, number_in, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgqueuer.models import Job


class PgQueuerJobs(Queue):
    FINISHED = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"
    uvloop = True

    async def install(self, dsn: str) -> None:
        await Orders.install(dsn)
        connection = await asyncpg.connect(dsn)
        queries = Queries(AsyncpgDriver(connection))
        await queries.install()
        await queries.optimize_autovacuum()
        await connection.close()

    async def open(self, dsn: str) -> None:
        self._dsn = dsn
        self._orders = Orders(dsn)
        await self._orders.open()
        self._pool = await asyncpg.create_pool(dsn, min_size=2, max_size=POOL)
        self._queries = Queries(AsyncpgPoolDriver(self._pool))

    async def fill(self, numbers: Sequence[int]) -> None:
        await self._orders.insert(numbers)
        payloads = [_payload(number) for number in numbers]
        await self._queries.enqueue(["fulfil"] * len(numbers), [*payloads], [0] * len(numbers))

    async def insert(self, number: int) -> None:
        await self._queries.enqueue("fulfil", _payload(number))

    async def write_foreign(self, numbers: Sequence[int]) -> None:
        payload, count = foreign_state().encode(), len(numbers)
        await self._queries.enqueue(["foreign"] * count, [payload] * count, [0] * count)

    async def work(self, started: Callable[[int], None]) -> None:
        manager = PgQueuer(AsyncpgDriver(await asyncpg.connect(self._dsn)))

        @manager.entrypoint("fulfil")
        async def fulfil(job: Job) -> None:
            assert job.payload is not None
            state = job.payload.decode()
            number = number_in(orjson.loads(state))
            started(number)
            await self._orders.write(number, state)

        await manager.run(batch_size=WORKERS // 2, max_concurrent_tasks=WORKERS)


def _payload(number: int) -> bytes:
    return state_of(number).encode()
