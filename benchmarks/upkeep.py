"""The cost of a table to whoever keeps the server: bytes, WAL, vacuum, a dump."""

from __future__ import annotations

import asyncio
import re
import subprocess
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from benchmarks import kept
from benchmarks.calls import together
from benchmarks.claiming import CLAIMABLE, claims
from hephaestus_pg import Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from hephaestus_pg import AsyncStorage, Instance

    Connection = asyncpg.Connection[asyncpg.Record]
    Nodes = Sequence[Connection]
    """Connections to each server that keeps a part of the table, first to the one that is asked."""

UPDATED = 20
"""One row in so many, the newest, is updated before a vacuum."""

WRITTEN = 4_000
"""Rows of each kind of write whose WAL is counted."""

_STATE_INDEX = "idx_workflow_instances_state"

_INDEXES = """
SELECT indexrelid::regclass::text AS name, pg_relation_size(indexrelid) AS bytes
FROM pg_index WHERE indrelid = 'workflow_instances'::regclass ORDER BY bytes DESC
"""

_TABLE = """
SELECT
    pg_relation_size(oid) AS heap,
    coalesce(pg_total_relation_size(nullif(reltoastrelid, 0)), 0) AS toast,
    (bt_metap('workflow_instances_pkey')).level + 1 AS levels,
    (
        SELECT avg(pg_column_size(state))
        FROM (SELECT state FROM workflow_instances LIMIT 1000) AS first
    ) AS state
FROM pg_class WHERE oid = 'workflow_instances'::regclass
"""

# The WAL's own account of itself: what was changed, and the images of whole pages, the first time
# that each of them was changed after the checkpoint.
_WAL = """
SELECT
    coalesce(sum(record_size), 0)::float8 AS wal, coalesce(sum(fpi_size), 0)::float8 AS images
FROM pg_get_wal_stats($1, $2)
"""

_UPDATE = """
UPDATE workflow_instances
SET state = jsonb_set(state, '{runtime_metadata, attempt}', '9'), revision = revision + 1
WHERE inserted_at >= $1
"""

_NEXT_XID = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"

_VACUUMED = re.compile(
    r"index scans: (?P<scans>\d+).*"
    r"tuples: (?P<removed>\d+) removed.*"
    r"buffer usage: (?P<hits>\d+) hits, (?P<reads>\d+) \w+, (?P<dirtied>\d+) dirtied",
    re.DOTALL,
)

COST = {"hits": 1, "reads": 2, "dirtied": 20}
"""The server's default costs of a page for a vacuum that pauses (``vacuum_cost_page_…``)."""


@asynccontextmanager
async def looking(dsn: str, find_others: str | None = None) -> AsyncIterator[Nodes]:
    """Connections for looking into the server, with autovacuum off on the table.

    ``find_others`` is a query that gives the ``host`` and ``port`` of further servers which keep
    parts of it.
    """
    async with AsyncExitStack() as stack:

        async def connected(**place: Any) -> Connection:
            connection: Connection = await asyncpg.connect(dsn, **place)
            stack.push_async_callback(connection.close)
            return connection

        first = await connected()
        for name in ("pg_walinspect", "pageinspect"):
            await first.execute(f"CREATE EXTENSION IF NOT EXISTS {name}")
        # It would come at any moment, and cost what is counted for others.
        await first.execute("ALTER TABLE workflow_instances SET (autovacuum_enabled = off)")
        others = await first.fetch(find_others) if find_others else []
        yield [first, *[await connected(**each) for each in others]]


async def sizes(connection: Connection) -> dict[str, Any]:
    """Bytes of the table, and of each of its indexes."""
    table = await connection.fetchrow(_TABLE)
    assert table
    return {
        **{name: float(value or 0) for name, value in table.items()},
        "indexes": {index["name"]: index["bytes"] for index in await connection.fetch(_INDEXES)},
    }


async def lives(
    nodes: Nodes, storage: AsyncStorage, rows: int, prunable: int
) -> AsyncIterator[dict[str, Any]]:
    """Records of what rows cost from insert to vacuum, each a ``part``.

    They are written, claimed, pruned up to that number, updated and vacuumed.
    """
    for record in await wal(nodes, storage, rows):
        yield {"part": "wal", **record}
    for record in await claims(storage, min(CLAIMABLE, rows // 5)):
        yield {"part": "claims", **record}
    await vacuumed(nodes)
    yield {"part": "prune", **await pruned(nodes, storage, prunable)}
    await updated(nodes[0], rows)
    yield {"part": "vacuum", **await vacuumed(nodes)}


async def wal_of(nodes: Nodes, work: Callable[[], Awaitable[Any]]) -> dict[str, float]:
    """The seconds and transactions of the work, right after a checkpoint, and its bytes of WAL."""
    has_index = await nodes[0].fetchval("SELECT to_regclass($1)", _STATE_INDEX)
    for node in nodes:
        await node.execute("CHECKPOINT")
    starts = [await node.fetchval("SELECT pg_current_wal_insert_lsn()") for node in nodes]
    first, began = await _next_xids(nodes), time.perf_counter()
    await work()
    seconds = time.perf_counter() - began
    transactions = await _next_xids(nodes) - first
    if has_index:
        # What the index has put off: its part of these writes, whoever comes to do it.
        await nodes[0].execute("SELECT gin_clean_pending_list($1::text::regclass)", _STATE_INDEX)
    found = [await _wal_since(node, start) for node, start in zip(nodes, starts, strict=True)]
    wal, images = map(sum, zip(*found, strict=True))
    return {"seconds": seconds, "transactions": transactions, "wal": wal, "images": images}


async def _next_xids(nodes: Nodes) -> float:
    return float(sum([await node.fetchval(_NEXT_XID) for node in nodes]))


async def _wal_since(node: Connection, start: Any) -> tuple[float, float]:
    """The bytes of its changes, and of images of whole pages."""
    await node.execute("SELECT pg_logical_emit_message(true, '', '')")  # and flush
    end = await node.fetchval("SELECT pg_current_wal_flush_lsn()")
    try:
        found = await node.fetchrow(_WAL, start, end)
        assert found
        return found["wal"], found["images"]
    except asyncpg.UndefinedFileError:  # it was too much to be kept
        return await node.fetchval("SELECT ($2::pg_lsn - $1)::float8", start, end), 0.0


async def wal(nodes: Nodes, storage: AsyncStorage, rows: int) -> list[dict[str, Any]]:
    """A record for each write of an order's life, by 64 callers; the table has the same rows after.

    Orders are inserted, updated twice, finished and deleted, and active ones are put.
    """
    number = min(WRITTEN, rows // 4)
    held: list[Instance] = []

    async def insert() -> None:
        held[:] = await together(storage.insert, map(kept.new, range(number)))

    async def update(stage: int, status: Status) -> None:
        changed = [
            replace(
                kept.order(each.context.initial["order"], stage, status), revision=each.revision
            )
            for each in held
        ]
        held[:] = await together(storage.update, changed)

    async def put() -> None:
        active = range(rows - min(number, rows // 200), rows)
        await together(storage.put, (kept.order(each, each % 4) for each in active))

    writes: dict[str, tuple[int, Callable[[], Awaitable[Any]]]] = {
        "insert": (number, insert),
        "update": (number, lambda: update(1, Status.RUNNING)),
        "update again": (number, lambda: update(2, Status.RUNNING)),
        "finish": (number, lambda: update(3, Status.COMPLETED)),
        "delete": (number, lambda: together(storage.delete, (each.id for each in held))),
        "put": (min(number, rows // 200), put),
    }
    records = []
    for name, (written, work) in writes.items():
        counted = await wal_of(nodes, work)
        records.append({"operation": name, "instances": written, **_of_each(written, counted)})
    return records


def _of_each(number: int, counted: dict[str, float]) -> dict[str, float]:
    """How many a second, and what each of so many cost."""
    costs = {name: value / number for name, value in counted.items() if name != "seconds"}
    return {"throughput": number / counted["seconds"], **costs}


async def pruned(nodes: Nodes, storage: AsyncStorage, before: int) -> dict[str, Any]:
    """A prune of all rows up to that number: its rate, and its WAL for each of them."""
    number = 0

    async def prune() -> None:
        nonlocal number
        number = await storage.prune(finished_before=kept.inserted_at(before))

    counted = await wal_of(nodes, prune)
    return {"instances": number, **_of_each(number, counted)}


async def updated(connection: Connection, rows: int) -> None:
    """Updates one row in twenty, the newest."""
    newest = kept.inserted_at(rows - rows // UPDATED).replace(tzinfo=None)
    await connection.execute(_UPDATE, newest)


async def vacuumed(nodes: Nodes, *options: str) -> dict[str, float]:
    """A vacuum: its seconds and its WAL, the rows it removed, the pages it found, read and changed.

    ``paused`` is for how long autovacuum would pause over that by default: 2 ms for each 200 of
    the pages' costs.
    """
    connection, said = nodes[0], list[str]()
    given = ", ".join(("VERBOSE", "PROCESS_TOAST FALSE", *options))

    async def vacuum() -> None:
        await connection.execute(f"VACUUM ({given}) workflow_instances")

    def listen(_: Any, message: Any) -> None:
        said.append(message.message)

    connection.add_log_listener(listen)
    counted = await wal_of(nodes, vacuum)
    await asyncio.sleep(0)  # what was said is told after the answer
    connection.remove_log_listener(listen)
    reports = [found for each in said if (found := _VACUUMED.search(each))]
    pages = {name: sum(float(each[name]) for each in reports) for name in _VACUUMED.groupindex}
    paused = 0.002 * sum(cost * pages[name] for name, cost in COST.items()) / 200
    return {"paused": paused, **counted, **pages}


def dumped(programs: Path, dsn: str, restored: str | None) -> dict[str, float]:
    """The seconds and bytes of a dump, and the seconds of restoring it into another database."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "dump")
        dump = _run(programs / "pg_dump", "--format=custom", f"--file={file}", dsn)
        figures = {"dump": dump, "bytes": float(file.stat().st_size)}
        if restored:
            figures["restore"] = _run(programs / "pg_restore", f"--dbname={restored}", file)
    return figures


def _run(*command: str | Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began
