"""Measures a table that a Citus cluster keeps in shards, beside one on the same coordinator.

The cluster is somebody's, given by its coordinator's DSN: this makes a schema in it, and drops it.
"""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import asyncpg

from benchmarks import kept
from benchmarks.calls import CALLERS, reads, timed, writes
from benchmarks.claiming import CLAIMABLE, claims
from benchmarks.filling import TEMPLATE, fill
from benchmarks.load import Load
from benchmarks.states import HALFWAY, build
from hephaestus_pg import AsyncStorage, Names, RejectedError, migrations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from hephaestus_pg import Instance

    Connection = asyncpg.Connection[asyncpg.Record]

SCHEMA = "bench_sharded"
SHARDS = 8

# Without it the driver looks at every type for most of a second on each new connection.
_SETTINGS = {"citus.override_table_visibility": "off"}

_DISTRIBUTE = (
    "DROP TRIGGER hephaestus_pg_raise_revision ON workflow_instances",
    f"SELECT create_distributed_table('workflow_instances', 'id', shard_count => {SHARDS})",
    "SELECT create_reference_table('workflow_runners')",
)

KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "one table": ((), "pg_total_relation_size"),
    f"{SHARDS} shards": (_DISTRIBUTE, "citus_total_relation_size"),
}
"""How the table is kept: what makes that of it, and the function that tells its bytes."""

_ABOUT = """
SELECT
    split_part(citus_version(), ' on ', 1) AS version,
    current_setting('fsync') AS fsync,
    current_setting('shared_buffers') AS shared_buffers,
    (SELECT count(*) FROM citus_get_active_worker_nodes()) AS workers
"""

_TIMEOUT = 600.0


async def sharded(
    dsn: str, sizes: Sequence[int], *, seconds: float
) -> AsyncIterator[dict[str, Any]]:
    """Records for each kind of table and each size, each of them a ``part``."""
    for kind, (changes, size_of) in KINDS.items():
        async with _schema(dsn, changes) as (connection, inside):
            yield {"kind": kind, "part": "about", **dict(await connection.fetchrow(_ABOUT) or {})}
            for held, rows in zip((0, *sizes), sizes, strict=False):
                await fill(inside, held, rows, build(TEMPLATE, HALFWAY, lines=1), rows=kept.ROWS)
                about = {"kind": kind, "rows": rows}
                size = await connection.fetchval(f"SELECT {size_of}('workflow_instances')")
                yield {**about, "part": "bytes", "bytes": size}
                async with AsyncStorage.start(
                    dsn,
                    schema=SCHEMA,
                    references=Names(),
                    server_settings=_SETTINGS,
                    timeout=_TIMEOUT,
                ) as storage:
                    async for record in _measured(storage, rows, seconds):
                        yield about | record


@asynccontextmanager
async def _schema(dsn: str, changes: Sequence[str]) -> AsyncIterator[tuple[Connection, str]]:
    """A connection with the schema in its path, and a DSN whose connections have it too."""
    settings = {**_SETTINGS, "search_path": SCHEMA}
    connection = await asyncpg.connect(dsn, server_settings=settings)
    drop = f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"
    try:
        await connection.execute(drop)
        await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        await connection.execute(migrations.sql("up", schema=SCHEMA))
        for change in changes:
            await connection.execute(change)
        yield connection, f"{dsn}{'&' if '?' in dsn else '?'}{urlencode(settings)}"
    finally:
        await connection.execute(drop)
        await connection.close()


async def _measured(
    storage: AsyncStorage, rows: int, seconds: float
) -> AsyncIterator[dict[str, Any]]:
    for name, call in (await reads(storage, rows)).items():
        about = {"part": "calls", "operation": name, "callers": 1}
        try:
            yield about | (await timed(call, seconds)).figures()
        except RejectedError as error:
            yield about | {"refused": str(error)}
    for name, sample in (await writes(storage, rows, seconds)).items():
        yield {"part": "calls", "operation": name, "callers": 1, **sample.figures()}
    for name, load in _loads(storage, rows).items():
        await load.run(seconds)
        figures = (await load.run(2 * seconds)).figures()
        yield {"part": "calls", "operation": name, "callers": CALLERS, **figures}
    for record in await claims(storage, min(CLAIMABLE, rows // 5)):
        yield {"part": "calls", **record}


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
