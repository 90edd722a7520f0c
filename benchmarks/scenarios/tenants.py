"""Measures many tenants, each with a schema, over one pool, beside asyncpg."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import asyncpg

from benchmarks.tenancy import CONTENDERS, Tenancy
from hephaestus_pg import migrations

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.server import Server

TENANTS = (1, 10, 100, 1_000)


def tenants(
    server: Server, counts: Sequence[int], *, rounds: int, seconds: float
) -> Iterator[dict[str, Any]]:
    """A record for each number of tenants, round, operation and contender, which take turns."""
    with server.database("bench_tenants") as dsn:
        for held, count in zip((0, *counts), counts, strict=False):
            asyncio.run(_migrate(dsn, held, count))
            for round_number in range(rounds):
                for record in _measured(server, dsn, count, seconds, shift=round_number):
                    yield {"round": round_number, "tenants": count, **record}


def _measured(
    server: Server, dsn: str, count: int, seconds: float, *, shift: int
) -> Iterator[dict[str, Any]]:
    names = [*CONTENDERS]
    shift %= len(names)
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(Tenancy(name, f"{dsn}?application_name={name}", count))
            for name in (*names[shift:], *names[:shift])
        }
        for operation in ("put", "get"):
            for name, process in processes.items():
                process.prepare(operation)
                with server.counted() as costs:
                    figures = process.run(operation, seconds)
                yield {
                    "operation": operation,
                    "contender": name,
                    **process.started,
                    **figures,
                    "server_cpu": 1000 * costs["server_cpu"] / figures["instances"],
                    "server_memory": server.memory(name),
                }


async def _migrate(dsn: str, start: int, end: int) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("SET synchronous_commit = off")
    for number in range(start, end):
        await migrations.up(connection=connection, schema=f"tenant_{number}")
    await connection.close()
