"""Measures many tenants, each with a schema and a storage, over one pool."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import asyncpg

from benchmarks.contenders import POOL
from benchmarks.fresh_process import alone, resident
from benchmarks.load import Load
from benchmarks.states import STAGES, order
from hephaestus_pg import (
    AsyncStorage,
    Names,
    migrations,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.server import Server

TENANTS = (1, 10, 100, 1_000)
CALLERS = 64

_ORDERS = 1024


def tenants(server: Server, counts: Sequence[int], *, seconds: float) -> Iterator[dict[str, Any]]:
    """A record for each number of tenants and operation."""
    with server.database("bench_tenants") as dsn:
        for held, count in zip((0, *counts), counts, strict=False):
            asyncio.run(_migrate(dsn, held, count))
            for record in alone(_measured, dsn, count, seconds):
                yield {"tenants": count, **record}


async def _migrate(dsn: str, start: int, end: int) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("SET synchronous_commit = off")
    for number in range(start, end):
        await migrations.up(connection=connection, schema=f"tenant_{number}")
    await connection.close()


def _measured(dsn: str, count: int, seconds: float) -> list[dict[str, Any]]:
    return asyncio.run(_measure(dsn, count, seconds))


async def _measure(dsn: str, count: int, seconds: float) -> list[dict[str, Any]]:
    orders = [[order(number, stage, "1kb") for number in range(_ORDERS)] for stage in range(STAGES)]
    async with asyncpg.create_pool(dsn, min_size=1, max_size=POOL) as pool:
        memory, began = resident(), time.perf_counter()
        storages = [
            await AsyncStorage.start(
                pool=pool, name=f"tenant_{each}", schema=f"tenant_{each}", references=Names()
            )
            for each in range(count)
        ]
        started = {"start_ms": 1000 * (time.perf_counter() - began) / count}
        started["memory"] = resident() - memory

        # A caller has its own orders, and takes them to one tenant after another.
        def turned(caller: int, turn: int) -> tuple[AsyncStorage, int]:
            return storages[(caller * 31 + turn) % count], (turn * CALLERS + caller) % _ORDERS

        async def put(caller: int, turn: int) -> int:
            storage, number = turned(caller, turn)
            await storage.put(orders[turn % STAGES][number])
            return 1

        async def get(caller: int, turn: int) -> int:
            storage, number = turned(caller, turn)
            await storage.get(orders[0][number].id)
            return 1

        records = []
        for operation, call in {"put": put, "get": get}.items():
            load = Load(call, CALLERS)
            await load.run(seconds / 4)
            figures = (await load.run(seconds)).figures()
            records.append({"operation": operation, **started, **figures})
        for storage in storages:
            await storage.close()
    return [{**record, "memory_after": resident() - memory} for record in records]
