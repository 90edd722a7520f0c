from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from psycopg import AsyncRawCursor
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool

from benchmarks.contenders import COLUMNS, POOL, PUT, UPDATE, Contender, row
from hephaestus_pg import migrations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus_pg import Instance

# It reads jsonb itself.
ALL = COLUMNS.replace("state::text AS ", "")


class Psycopg(Contender):
    async def start(self, dsn: str) -> None:
        await migrations.up(dsn)
        set_json_loads(orjson.loads)
        self._pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
            dsn,
            min_size=POOL,
            max_size=POOL,
            open=False,
            timeout=300,
            kwargs={"cursor_factory": AsyncRawCursor, "row_factory": dict_row},
        )
        await self._pool.open(wait=True)

    async def close(self) -> None:
        await self._pool.close()

    def value(self, instance: Instance) -> tuple[str, str, str, int, str]:
        return row(instance)

    async def put(self, value: tuple[str, str, str, int, str]) -> int:
        async with self._pool.connection() as connection:
            await (await connection.execute(PUT, value)).fetchone()
        return 1

    async def get(self, id: str) -> int:
        async with self._pool.connection() as connection:
            found = await connection.execute(f"{ALL} WHERE id = $1", (id,))
            assert await found.fetchone()
        return 1

    async def update(self, value: tuple[str, str, str, int, str]) -> int:
        id, workflow, status, _, state = value
        async with self._pool.connection() as connection:
            found = await connection.execute(
                UPDATE, (id, workflow, status, state, self.revisions[id])
            )
            stored = await found.fetchone()
        assert stored
        self.revisions[id] = stored["revision"]
        return 1

    async def query(self, workflow: str) -> int:
        async with self._pool.connection() as connection:
            found = await connection.execute(f"{ALL} WHERE workflow = $1", (workflow,))
            return len(await found.fetchall())

    async def stream(self) -> int:
        async with (
            self._pool.connection() as connection,
            connection.cursor(name="instances") as cursor,
        ):
            await cursor.execute(f"{ALL} WHERE status = 'waiting'")
            return len([None async for _ in cursor])

    async def put_many(self, values: Sequence[tuple[str, str, str, int, str]]) -> int:
        async with self._pool.connection() as connection, connection.cursor() as cursor:
            await cursor.executemany(PUT, values)
        return len(values)
