"""Measures the claim's statement beside the shape that a distributed table could run."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg

from benchmarks.claimable import CLAIM, CLAIMED, FILL, REGISTER, WORKFLOWS
from benchmarks.load import percentile
from hephaestus_pg import _sql, migrations
from hephaestus_pg.runners.reach import SPREAD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.server import Server

CLAIMS = 20
"""Claims in one turn of a shape."""

# What a coordinator of Citus can push down: one scan, and no subquery that looks at each workflow.
ONE_SCAN = CLAIM.replace(
    _sql.rendered("/* include: claimable */", "public"),
    """
    SELECT claimable.id
    FROM (
        SELECT id
        FROM workflow_instances
        WHERE workflow = ANY ($2::text[])
            AND runner IS NULL
            AND (status IN ('pending', 'running') OR status = 'waiting' AND due_at IS NOT NULL)
            AND CASE
                WHEN status = 'waiting' THEN due_at <= statement_timestamp()
                ELSE due_at IS NULL OR due_at <= statement_timestamp()
            END
        ORDER BY coalesce(due_at, inserted_at AT TIME ZONE 'UTC'), id
        LIMIT 500
    ) AS claimable
    LIMIT $4::text::bigint""",
)

_INDEX = """
CREATE INDEX one_scan ON workflow_instances ((coalesce(due_at, inserted_at AT TIME ZONE 'UTC')), id)
WHERE
    runner IS NULL
    AND (status IN ('pending', 'running') OR status = 'waiting' AND due_at IS NOT NULL)
"""


def claim_shapes(server: Server, *, rows: int, rounds: int) -> Iterator[dict[str, Any]]:
    """A record for each round, state of the table and shape, in turns.

    There are ``rows`` that can be claimed, as many that are owned, that wait, and that are of
    another workflow, and a hundredth of that whose attempts are exhausted.
    """
    with server.database("bench_claims") as dsn:
        yield from asyncio.run(_shapes(dsn, rows, rounds))


async def fill(connection: asyncpg.Connection[Any], rows: int) -> None:
    """Insert what can be claimed, and what can't."""
    never = await connection.fetchval("SELECT 'infinity'::timestamptz")
    for name, workflows, status, runner, due_at, number in (
        ("free", WORKFLOWS, "running", None, None, rows),
        ("owned", WORKFLOWS, "running", uuid4(), None, rows),
        ("waiting", WORKFLOWS, "waiting", None, None, rows),
        ("exhausted", WORKFLOWS, "running", None, never, rows // 100),
        ("foreign", ("Elixir.Order",), "running", None, None, rows),
    ):
        await connection.execute(FILL, f"{name}::", workflows, status, runner, due_at, number)


async def _shapes(dsn: str, rows: int, rounds: int) -> list[dict[str, Any]]:
    await migrations.up(dsn)
    connection = await asyncpg.connect(dsn)
    await fill(connection, rows)
    await connection.execute("VACUUM ANALYZE workflow_instances")
    token = str(uuid4())
    await connection.execute(REGISTER, token)
    records = []
    for table, change in {
        "as it is": "SELECT",
        "and an index for one scan": _INDEX,
        "and the other workflow older": (
            "UPDATE workflow_instances SET inserted_at = inserted_at - interval '1 year'"
            " WHERE workflow = 'Elixir.Order'"
        ),
    }.items():
        await connection.execute(change)
        await connection.execute("VACUUM ANALYZE workflow_instances")
        for round_number in range(rounds):
            for shape, statement in {"claim.sql": CLAIM, "one scan": ONE_SCAN}.items():
                figures = await _claimed(connection, statement, token)
                about = {"round": round_number, "rows": rows, "table": table}
                records.append({**about, "contender": shape, **figures})
    await connection.close()
    return records


async def _claimed(
    connection: asyncpg.Connection[Any], statement: str, token: str
) -> dict[str, float]:
    times = []
    for _ in range(CLAIMS):
        began = time.perf_counter()
        taken = await connection.fetch(
            statement, token, WORKFLOWS, str(CLAIMED), str(SPREAD * CLAIMED), "true"
        )
        times.append(time.perf_counter() - began)
        assert len(taken) == CLAIMED
    ordered = sorted(times)
    return {
        "throughput": CLAIMED * CLAIMS / sum(times),
        "p50": 1000 * percentile(ordered, 0.5),
    }
