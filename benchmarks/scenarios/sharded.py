"""Measures a table that a Citus cluster keeps in shards, beside one on the same coordinator.

The cluster is somebody's, given by its coordinator's DSN: two schemas are made in it, and dropped.
"""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
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

SHARDS = 8

# Without it the driver looks at every type for most of a second on each new connection.
_SETTINGS = {"citus.override_table_visibility": "off"}


class Kind(NamedTuple):
    """A way to keep the table: its schema, what makes that of it, and what tells its bytes."""

    schema: str
    changes: tuple[str, ...]
    size: str


KINDS = {
    "one table": Kind("bench_one", (), "SELECT pg_total_relation_size('workflow_instances')"),
    f"{SHARDS} shards": Kind(
        "bench_shards",
        (
            "DROP TRIGGER hephaestus_pg_raise_revision ON workflow_instances",
            f"SELECT create_distributed_table('workflow_instances', 'id', shard_count => {SHARDS})",
            "SELECT create_reference_table('workflow_runners')",
        ),
        "SELECT citus_total_relation_size('workflow_instances')",
    ),
}

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
    """Records for each size and kind of table, by turns, each of them a ``part``."""
    async with AsyncExitStack() as stack:
        kinds = {kind: await stack.enter_async_context(_schema(dsn, kind)) for kind in KINDS}
        connection = next(iter(kinds.values()))
        yield {"part": "about", **dict(await connection.fetchrow(_ABOUT) or {})}
        for held, rows in zip((0, *sizes), sizes, strict=False):
            for kind, connection in kinds.items():
                inside = _inside(dsn, kind)
                await fill(inside, held, rows, build(TEMPLATE, HALFWAY, lines=1), rows=kept.ROWS)
                about = {"kind": kind, "rows": rows}
                size = await connection.fetchval(KINDS[kind].size)
                yield {**about, "part": "bytes", "bytes": size}
                async with AsyncStorage.start(
                    dsn,
                    schema=KINDS[kind].schema,
                    references=Names(),
                    server_settings=_SETTINGS,
                    timeout=_TIMEOUT,
                ) as storage:
                    async for record in _measured(storage, rows, seconds):
                        yield about | record


def _inside(dsn: str, kind: str) -> str:
    """A DSN whose connections have the schema of that kind in their path."""
    settings = {**_SETTINGS, "search_path": KINDS[kind].schema}
    return f"{dsn}{'&' if '?' in dsn else '?'}{urlencode(settings)}"


@asynccontextmanager
async def _schema(dsn: str, kind: str) -> AsyncIterator[Connection]:
    """A connection to a schema with a table of that kind, which ends with the block."""
    schema = KINDS[kind].schema
    connection = await asyncpg.connect(_inside(dsn, kind))
    drop = f"DROP SCHEMA IF EXISTS {schema} CASCADE"
    try:
        await connection.execute(drop)
        await connection.execute(f"CREATE SCHEMA {schema}")
        await connection.execute(migrations.sql("up", schema=schema))
        for change in KINDS[kind].changes:
            await connection.execute(change)
        yield connection
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
