"""Measures tables of a Citus cluster beside plain ones on its coordinator.

``HEPHAESTUS_PG_TEST_CITUS_DSN`` leads to the coordinator of one that runs already.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg

from benchmarks.load import Load
from benchmarks.states import order
from hephaestus_pg import AsyncStorage, Names, migrations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from hephaestus_pg import Instance

    Call = Callable[[int, int], Awaitable[int]]

VARIABLE = "HEPHAESTUS_PG_TEST_CITUS_DSN"

TABLES = {
    "plain": [],
    "schema": ["SELECT citus_schema_distribute('{}')"],
    "id, 8 shards": [
        "SELECT create_distributed_table('{}.workflow_instances', 'id', shard_count => 8)",
        "SELECT citus_add_local_table_to_metadata('{}.workflow_runners')",
    ],
    "id, 32 shards": [
        "SELECT create_distributed_table('{}.workflow_instances', 'id', shard_count => 32)",
        "SELECT citus_add_local_table_to_metadata('{}.workflow_runners')",
    ],
}
"""How the table is kept, and what makes that of a migrated schema."""

OPERATIONS = ("put", "get", "update", "insert")
CALLERS = (1, 64)
TENANTS = 20

_TRIGGER = "DROP TRIGGER hephaestus_pg_raise_revision ON {}.workflow_instances"
_SETTINGS = {"citus.override_table_visibility": "off"}
_IDS = 2_000


def citus(*, rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    """A record for each round, table, operation, number of callers, and way of sending."""
    dsn = os.environ.get(VARIABLE)
    if not dsn:
        print(f"citus is left out: {VARIABLE} names no cluster")
        return
    with asyncio.Runner() as runner:
        for number in range(rounds):
            for record in runner.run(_round(dsn, number, seconds)):
                yield {"round": number, **record}


async def _round(dsn: str, number: int, seconds: float) -> list[dict[str, Any]]:
    records = []
    shift = number % len(TABLES)
    names = [*TABLES]
    for name in (*names[shift:], *names[:shift]):
        async with _schemas(dsn, TABLES[name], 1) as [schema]:
            for batching in (True, False):
                async with _started(dsn, [schema], batching=batching) as storages:
                    for callers in CALLERS:
                        for operation in OPERATIONS:
                            figures = await _measure(storages, operation, callers, seconds)
                            records.append(_record(name, operation, callers, figures, batching))
    for name in ("plain", "schema"):
        async with (
            _schemas(dsn, TABLES[name], TENANTS) as schemas,
            _started(dsn, schemas, batching=True) as storages,
        ):
            for operation in ("put", "get"):
                figures = await _measure(storages, operation, CALLERS[-1], seconds)
                records.append(
                    _record(f"{name}, {TENANTS} tenants", operation, CALLERS[-1], figures, True)
                )
    return records


def _record(
    name: str, operation: str, callers: int, figures: dict[str, float], batching: bool
) -> dict[str, Any]:
    return {
        "contender": name,
        "operation": operation,
        "callers": callers,
        "way": "gathered" if batching else "batching=False",
        **figures,
    }


async def _measure(
    storages: list[AsyncStorage], operation: str, callers: int, seconds: float
) -> dict[str, float]:
    load = Load(await _call(storages, operation, callers), callers)
    await load.run(seconds / 2)
    return (await load.run(seconds)).figures()


async def _call(storages: list[AsyncStorage], operation: str, callers: int) -> Call:
    """A caller's call; each has ids of its own, of a tenant of its own where there are several."""
    held: dict[str, Instance] = {}
    made = [order(number, 2, "1kb") for number in range(_IDS)]
    for number, storage in enumerate(storages):
        for instance in await storage.put_many(made[number :: len(storages)]):
            held[instance.id] = instance
    fresh = iter(range(10**9))

    def mine(caller: int, turn: int) -> tuple[AsyncStorage, Instance]:
        index = (caller + turn * callers) % _IDS
        return storages[index % len(storages)], made[index]

    async def put(caller: int, turn: int) -> int:
        storage, instance = mine(caller, turn)
        await storage.put(instance)
        return 1

    async def get(caller: int, turn: int) -> int:
        storage, instance = mine(caller, turn)
        return int(await storage.get(instance.id) is not None)

    async def update(caller: int, turn: int) -> int:
        storage, instance = mine(caller, turn)
        held[instance.id] = await storage.update(held[instance.id])
        return 1

    async def insert(caller: int, turn: int) -> int:
        storage, instance = mine(caller, turn)
        await storage.insert(replace(instance, id=f"{operation}-{id(fresh)}-{next(fresh)}"))
        return 1

    return {"put": put, "get": get, "update": update, "insert": insert}[operation]


@asynccontextmanager
async def _started(
    dsn: str, schemas: list[str], *, batching: bool
) -> AsyncIterator[list[AsyncStorage]]:
    """A storage for each schema, on one pool."""
    async with AsyncExitStack() as stack:
        first: dict[str, Any] = {"dsn": dsn, "server_settings": _SETTINGS}
        storages: list[AsyncStorage] = []
        for schema in schemas:
            given = {"share": storages[0]} if storages else first
            storages.append(
                await stack.enter_async_context(
                    AsyncStorage.start(
                        name=schema, schema=schema, references=Names(), batching=batching, **given
                    )
                )
            )
        yield storages


@asynccontextmanager
async def _schemas(dsn: str, statements: list[str], number: int) -> AsyncIterator[list[str]]:
    """So many schemas of the kind, which end with the block."""
    connection = await asyncpg.connect(dsn, server_settings=_SETTINGS)
    names = [f"bench_citus_{each}" for each in range(number)]
    try:
        for name in names:
            await connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
            await connection.execute(f"CREATE SCHEMA {name}")
            await connection.execute(migrations.sql("up", schema=name))
            for statement in (_TRIGGER, *statements) if statements else ():
                await connection.execute(statement.format(name))
        yield names
    finally:
        for name in names:
            await connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
        await connection.close()
