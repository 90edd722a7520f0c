from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from hephaestus_pg import AsyncStorage

    Pool = asyncpg.Pool[asyncpg.Record]


class Table:
    """The table, as somebody who looks into it by hand sees and changes it."""

    def __init__(self, pool: Pool, schema: str) -> None:
        self._pool = pool
        self._name = f"{schema}.workflow_instances"
        self._runners = f"{schema}.workflow_runners"

    async def row(self, id: str) -> Any:
        """The runner, the seconds until it is due, its attempts, and its revision."""
        return await self._pool.fetchrow(
            # Not due_at - now(): before PostgreSQL 17 that fails for infinity.
            "SELECT runner, (extract(epoch FROM due_at) - extract(epoch FROM now()))::float AS due,"
            " attempts, revision"
            f" FROM {self._name} WHERE id = $1",
            id,
        )

    async def set(self, id: str, settings: str) -> None:
        await self._pool.execute(f"UPDATE {self._name} SET {settings} WHERE id = $1", id)

    async def expire(self, token: UUID) -> None:
        """End the lease of a runner, as the server sees it."""
        await self._pool.execute(
            f"UPDATE {self._runners} SET expires_at = now() - interval '1 hour' WHERE token = $1",
            token,
        )


@pytest.fixture
def table(storage: AsyncStorage, pool: Pool) -> Table:
    return Table(pool, storage.schema)
