"""Many tenants, a schema each, over one pool, in a process of its own that is asked."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Self

import asyncpg
import orjson

from benchmarks.child import Child
from benchmarks.contenders import COLUMNS, POOL, PUT, row
from benchmarks.fresh_process import resident
from benchmarks.load import Load
from benchmarks.states import STAGES, order
from hephaestus_pg import (
    AsyncStorage,
    Names,
)

if TYPE_CHECKING:
    from hephaestus_pg import Instance

CALLERS = 64

WARM_CALLS = 8
"""Calls to each tenant before the clock runs: the server plans a statement anew five times."""

_WARM_UP = 0.5
_ORDERS = 1024
_TURNS = 1_001


class Tenancy(Child):
    """The other side: starts the process and asks it."""

    def __init__(self, name: str, dsn: str, tenants: int) -> None:
        super().__init__(name, "benchmarks.tenancy", name, dsn, str(tenants))
        self.started: dict[str, float] = {}
        """Milliseconds that a tenant took to start, and MiB of memory that all of them took."""

    def __enter__(self) -> Self:
        self.started = self.answer()
        return self

    def prepare(self, operation: str) -> None:
        """Load without a clock, until the connections know their tenants."""
        self.ask("prepare", operation, WARM_CALLS)

    def run(self, operation: str, seconds: float) -> dict[str, float]:
        """Load for that long: the figures of a sample, and the MiB that the process has grown."""
        figures: dict[str, float] = self.ask("run", operation, seconds)
        return figures


class _Shared:
    """A storage for each tenant, all on the pool of the first."""

    async def start(self, dsn: str, schemas: list[str]) -> None:
        self._storages: list[AsyncStorage] = []
        for schema in schemas:
            where: dict[str, Any] = {"share": self._storages[0]} if self._storages else {"dsn": dsn}
            self._storages.append(
                await AsyncStorage.start(**where, name=schema, schema=schema, references=Names())
            )

    async def close(self) -> None:
        for storage in self._storages:
            await storage.close()

    def value(self, instance: Instance) -> Any:
        return instance

    async def put(self, tenant: int, value: Any) -> None:
        await self._storages[tenant].put(value)

    async def get(self, tenant: int, id: str) -> None:
        await self._storages[tenant].get(id)


class _OneACall:
    """A statement for each call, with the tenant's schema in its text."""

    options: ClassVar[dict[str, Any]] = {}

    async def start(self, dsn: str, schemas: list[str]) -> None:
        table = "workflow_instances"
        self._puts = [PUT.replace(table, f"{schema}.{table}") for schema in schemas]
        get = f"{COLUMNS} WHERE id = $1"
        self._gets = [get.replace(table, f"{schema}.{table}") for schema in schemas]
        self._pool = await asyncpg.create_pool(dsn, min_size=1, max_size=POOL, **self.options)

    async def close(self) -> None:
        await self._pool.close()

    def value(self, instance: Instance) -> Any:
        return row(instance)

    async def put(self, tenant: int, value: Any) -> None:
        await self._pool.fetchrow(self._puts[tenant], *value)

    async def get(self, tenant: int, id: str) -> None:
        if found := await self._pool.fetchrow(self._gets[tenant], id):
            orjson.loads(found["state"])


class _LargeCache(_OneACall):
    options: ClassVar[dict[str, Any]] = {"statement_cache_size": 1_000}


CONTENDERS: dict[str, tuple[str, type[_Shared | _OneACall]]] = {
    "ours": ("hephaestus_pg, share=", _Shared),
    "asyncpg": ("asyncpg, one statement a call", _OneACall),
    "asyncpg-cache": ("asyncpg, 1,000 statements kept", _LargeCache),
}


async def _serve(name: str, dsn: str, tenants: int) -> None:
    contender = CONTENDERS[name][1]()
    orders = [[order(number, stage, "1kb") for number in range(_ORDERS)] for stage in range(STAGES)]
    ids = [each.id for each in orders[0]]
    values = [[contender.value(each) for each in stage] for stage in orders]
    memory, began = resident(), time.perf_counter()
    await contender.start(dsn, [f"tenant_{each}" for each in range(tenants)])
    took = 1000 * (time.perf_counter() - began) / tenants
    print(json.dumps({"start_ms": took, "memory": resident() - memory}), flush=True)

    # A caller has its own orders, and takes each to a tenant at random: callers who all went the
    # same way round would meet at the tenants, and share more statements than they do in life.
    chosen = Random(tenants).choices(range(tenants), k=_TURNS * CALLERS)

    def turned(caller: int, turn: int) -> tuple[int, int]:
        number = turn * CALLERS + caller
        return chosen[number % len(chosen)], number % _ORDERS

    async def put(caller: int, turn: int) -> int:
        tenant, number = turned(caller, turn)
        await contender.put(tenant, values[turn % STAGES][number])
        return 1

    async def get(caller: int, turn: int) -> int:
        tenant, number = turned(caller, turn)
        await contender.get(tenant, ids[number])
        return 1

    loads = {"put": Load(put, CALLERS), "get": Load(get, CALLERS)}
    for line in sys.stdin:
        command, (operation, amount) = json.loads(line)
        load, answer = loads[operation], None
        if command == "prepare":
            calls = 0
            while calls < amount * tenants:
                calls += (await load.run(_WARM_UP)).instances
        else:
            figures = (await load.run(amount)).figures()
            answer = {**figures, "memory_after": resident() - memory}
        print(json.dumps(answer), flush=True)
    await contender.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
