"""Measures a table that a Citus cluster keeps in shards, beside one on its coordinator.

The cluster is somebody's, given by its coordinator's DSN: a schema is made in it, and dropped. The
tables have no index over states.
"""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import asyncpg

from benchmarks import kept, upkeep
from benchmarks.calls import CALLERS, reads, timed, writes
from benchmarks.filling import TEMPLATE, fill
from benchmarks.load import Load
from benchmarks.states import HALFWAY, build
from hephaestus_pg import AsyncStorage, Names, migrations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from hephaestus_pg import Instance

SHARDS = 8
KINDS = f"{SHARDS} shards", "one table"

_SCHEMA = "bench_sharded"

# Without it the driver looks at every type for most of a second on each new connection.
_SETTINGS = {"citus.override_table_visibility": "off", "search_path": _SCHEMA}

_ABOUT = """
SELECT
    split_part(citus_version(), ' on ', 1) AS version,
    current_setting('fsync') AS fsync,
    current_setting('shared_buffers') AS shared_buffers,
    (SELECT count(*) FROM citus_get_active_worker_nodes()) AS workers
"""

_WORKERS = (
    "SELECT node_name AS host, node_port::integer AS port FROM citus_get_active_worker_nodes()"
)

_SIZES = {
    "one table": "SELECT pg_total_relation_size('workflow_instances')",
    f"{SHARDS} shards": "SELECT citus_total_relation_size('workflow_instances')",
}

_TIMEOUT = 3600.0


async def sharded(
    dsn: str, sizes: Sequence[int], *, seconds: float
) -> AsyncIterator[dict[str, Any]]:
    """Records for each kind of table and size, each of them a ``part``."""
    options = quote(" ".join(f"-c {name}={value}" for name, value in _SETTINGS.items()))
    dsn = f"{dsn}{'&' if '?' in dsn else '?'}options={options}"
    for kind in KINDS:
        async with _table(dsn, kind) as connection:
            if kind == KINDS[0]:
                yield {"part": "about", **dict(await connection.fetchrow(_ABOUT) or {})}
            for held, rows in zip((0, *sizes), sizes, strict=False):
                await fill(dsn, held, rows, build(TEMPLATE, HALFWAY, lines=1), rows=kept.ROWS)
                about = {"kind": kind, "rows": rows}
                size = await connection.fetchval(_SIZES[kind])
                yield {**about, "part": "bytes", "bytes": size}
                async with (
                    upkeep.looking(dsn, _WORKERS) as nodes,
                    AsyncStorage.start(
                        dsn, schema=_SCHEMA, references=Names(), timeout=_TIMEOUT
                    ) as storage,
                ):
                    async for record in upkeep.lives(nodes, storage, rows, rows // 100):
                        yield about | record
                    async for record in _calls(storage, rows, seconds):
                        yield about | {"part": "calls", **record}


@asynccontextmanager
async def _table(dsn: str, kind: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to a schema with a table of that kind, which ends with the block."""
    connection = await asyncpg.connect(dsn)
    drop = f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE"
    try:
        await connection.execute(drop)
        await connection.execute(f"CREATE SCHEMA {_SCHEMA}")
        await migrations.up(dsn, schema=_SCHEMA)
        await migrations.index(dsn, schema=_SCHEMA, profile="none")
        if kind != "one table":
            await migrations.distribute(dsn, schema=_SCHEMA, by="id", shards=SHARDS)
        yield connection
    finally:
        await connection.execute(drop)
        await connection.close()


async def _calls(storage: AsyncStorage, rows: int, seconds: float) -> AsyncIterator[dict[str, Any]]:
    for name, call in (await reads(storage, rows)).items():
        if name != "contains":  # has no index
            yield {"operation": name, "callers": 1, **(await timed(call, seconds)).figures()}
    for name, sample in (await writes(storage, rows, seconds)).items():
        yield {"operation": name, "callers": 1, **sample.figures()}
    for name, load in _loads(storage, rows).items():
        await load.run(seconds)
        figures = (await load.run(2 * seconds)).figures()
        yield {"operation": name, "callers": CALLERS, **figures}


def _loads(storage: AsyncStorage, rows: int) -> dict[str, Load]:
    """Gets from anywhere, and puts to active ones, of many callers."""
    chosen = random.Random(rows)

    async def get(_caller: int, _turn: int) -> int:
        await storage.get(kept.id(kept.any_of(rows, chosen)))
        return 1

    async def put(_caller: int, _turn: int) -> int:
        changed: Instance = kept.order(kept.active_of(rows, chosen), chosen.randrange(4))
        await storage.put(changed)
        return 1

    return {"get": Load(get, CALLERS), "put": Load(put, CALLERS)}
