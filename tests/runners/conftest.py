from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from hephaestus_pg import Instance, Status

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage, Claim, Runner

    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = asyncpg.Connection[asyncpg.Record]

OTHER = UUID("0191e0a4-5b0c-7d3e-8f00-000000000001")
"""The token of a runner that there is not."""


def order(id: str, status: Status = Status.PENDING, **fields: Any) -> Instance:
    return Instance(id, fields.pop("workflow", "Order"), status=status, **fields)


async def next_claim(runner: Runner) -> Claim:
    async with asyncio.timeout(30):
        return await anext(runner.claims())


class Table:
    """The table, as somebody who looks into it by hand sees and changes it."""

    def __init__(self, link: Pool | Connection, schema: str) -> None:
        self._link = link
        self._name = f"{schema}.workflow_instances"
        self._runners = f"{schema}.workflow_runners"

    async def row(self, id: str) -> Any:
        """The runner, the seconds until it is due, its attempts, and its revision."""
        return await self._link.fetchrow(
            # Not due_at - now(): before PostgreSQL 17 that fails for infinity.
            "SELECT runner, (extract(epoch FROM due_at) - extract(epoch FROM now()))::float AS due,"
            " attempts, revision"
            f" FROM {self._name} WHERE id = $1",
            id,
        )

    async def set(self, id: str, settings: str) -> None:
        await self._link.execute(f"UPDATE {self._name} SET {settings} WHERE id = $1", id)

    async def expire(self, token: UUID) -> None:
        """End the lease of a runner, as the server sees it."""
        await self._link.execute(
            f"UPDATE {self._runners} SET expires_at = now() - interval '1 hour' WHERE token = $1",
            token,
        )

    async def beat(self, token: UUID) -> None:
        """Wait for the next heartbeat of a runner."""
        seen = await self._expiry(token)
        async with asyncio.timeout(30):
            while await self._expiry(token) == seen:
                await asyncio.sleep(0.005)

    async def lease_left(self, token: UUID) -> float:
        """Seconds until the lease of a runner ends, as the server sees it."""
        left: float = await self._link.fetchval(
            f"SELECT extract(epoch FROM expires_at - now())::float FROM {self._runners}"
            " WHERE token = $1",
            token,
        )
        return left

    async def _expiry(self, token: UUID) -> Any:
        return await self._link.fetchval(
            f"SELECT expires_at FROM {self._runners} WHERE token = $1", token
        )


@pytest.fixture(autouse=True)
def _asking(asking: None) -> None:
    """For all tests here."""


@pytest.fixture
def table(storage: AsyncStorage, pool: Pool) -> Table:
    return Table(pool, storage.schema)
