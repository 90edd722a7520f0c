from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import asyncpg
import orjson

from benchmarks.contenders import COLUMNS, PAGE, POOL, PUT, UPDATE, Contender, row
from hephaestus_pg import migrations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus_pg import Instance

GET = f"{COLUMNS} WHERE id = $1"
QUERY = f"{COLUMNS} WHERE workflow = $1"
STREAM = f"{COLUMNS} WHERE status = 'waiting'"
NEXT = f"{COLUMNS} WHERE status = 'waiting' AND id > $1 ORDER BY id LIMIT {PAGE}"
GET_MANY = f"{COLUMNS} WHERE id = ANY($1::text[])"


class OneACall(Contender):
    options: ClassVar[dict[str, Any]] = {}

    async def start(self, dsn: str) -> None:
        await migrations.up(dsn)
        self._pool = await asyncpg.create_pool(dsn, max_size=POOL, **self.options)

    async def close(self) -> None:
        await self._pool.close()

    def value(self, instance: Instance) -> tuple[str, str, str, int, str]:
        return row(instance)

    async def put(self, value: tuple[str, str, str, int, str]) -> int:
        await self._pool.fetchrow(PUT, *value)
        return 1

    async def get(self, id: str) -> int:
        found = await self._pool.fetchrow(GET, id)
        assert found
        orjson.loads(found["state"])
        return 1

    async def update(self, value: tuple[str, str, str, int, str]) -> int:
        id, workflow, status, _, state = value
        stored = await self._pool.fetchrow(UPDATE, id, workflow, status, state, self.revisions[id])
        assert stored
        self.revisions[id] = stored["revision"]
        return 1

    async def query(self, workflow: str) -> int:
        rows = await self._pool.fetch(QUERY, workflow)
        return len([orjson.loads(row["state"]) for row in rows])

    async def page(self, place: str) -> int:
        rows = await self._pool.fetch(NEXT, place)
        return len([orjson.loads(row["state"]) for row in rows])

    async def get_many(self, ids: Sequence[str]) -> int:
        rows = await self._pool.fetch(GET_MANY, ids)
        return len([orjson.loads(row["state"]) for row in rows])

    async def stream(self) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            return len([orjson.loads(row["state"]) async for row in connection.cursor(STREAM)])

    async def put_many(self, values: Sequence[tuple[str, str, str, int, str]]) -> int:
        await self._pool.executemany(PUT, values)
        return len(values)


async def _keep_session(_: Any) -> None:
    pass


class WithoutReset(OneACall):
    options: ClassVar[dict[str, Any]] = {"reset": _keep_session}
